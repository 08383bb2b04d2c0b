"""Contents of a bundle: the files, the wheels of each Python with their hashes, facts, configuration, signature.

Wheels are a few hundred bytes from a folder that stands in for the package index, and that of the runtime is a
stand-in too; pip chooses among them for real.
"""

import hashlib
import os
import shutil
import string
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tomllib
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge import __version__
from fer_edge.classifier import Classifier
from fer_edge.detectors import DETECTOR_FILES
from fer_edge.errors import ModelError, UsageError
from fer_edge.options import read_config

from boards import bundle as bundling
from boards import lab, profiles
from boards.bundle import BundleRequest, build_bundle, installer
from boards.bundle.archive import EPOCH_S, pack, write_sums
from boards.bundle.smoke import main as smoke
from boards.profiles import Profile, System, load_profile
from boards.wheels import workbench_versions
from tests.boards.tiny_wheel import add_wheel, use_as_index

DETECTOR = DETECTOR_FILES["mediapipe"].filename


@dataclass(frozen=True)
class Workshop:
    """A board with two systems, the folder that its wheels come from, and one for its bundles."""

    board: Profile
    index: Path
    out: Path

    def request(self, **changes: object) -> BundleRequest:
        detector = bundling.DATA / DETECTOR
        request = BundleRequest(self.board, "fer-base", Path("nowhere"), self.out, detector_file=detector)
        return replace(request, **changes)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, mediapipe_file: Path, default_model: Path):
    folder = tmp_path_factory.mktemp("workshop")
    index, locks = folder / "index", folder / "locks"
    index.mkdir()
    locks.mkdir()
    pi = load_profile("pi4")
    systems = (
        System(os="Debian 12", python="3.11", glibc="2.36", requirements=("ai-edge-litert==2.3.0", "numpy==1.26.4")),
        System(os="Debian 13", python="3.13", glibc="2.41", requirements=("ai-edge-litert==2.3.0", "numpy==2.4.6")),
    )
    board = replace(pi, system=systems, detector=replace(pi.detector, name="mediapipe"))
    for tag in ("cp311-cp311-manylinux_2_28_aarch64", "cp313-cp313-manylinux_2_39_aarch64"):
        add_wheel(index, "ai_edge_litert", "2.3.0", tag=tag)
    add_wheel(index, "ai_edge_litert", "2.3.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    for version in ("1.26.4", "2.4.6"):
        add_wheel(index, "numpy", version)
    for pin in workbench_versions(("microdot", "prometheus-client", "paho-mqtt")):
        name, version = pin.split("==")
        add_wheel(index, name.replace("-", "_"), version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "LOCKS", locks)
        own = add_wheel(folder, "fer_edge", __version__)
        patch.setattr(bundling, "build_runtime_wheel", lambda wheels: Path(shutil.copy(own, wheels)))
        use_as_index(index, patch)
        for system in systems:
            write_lock(board.lock(system), system, index)
        yield Workshop(board, index, folder / "dist")


def write_lock(path: Path, system: System, index: Path) -> None:
    lines = [f"# for: {' '.join(system.wheels)}"]
    for pin in system.wheels:
        name, version = pin.replace("-", "_").split("==")
        tag = f"cp{system.python.replace('.', '')}-" if name == "ai_edge_litert" else "py3"
        (wheel,) = (one for one in index.glob(f"{name}-{version}-{tag}*") if "x86" not in one.name)
        lines.append(f"{pin} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def archive(workshop: Workshop) -> Path:
    return build_bundle(workshop.request())


@pytest.fixture(scope="module")
def made(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked."""
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (bundle,) = folder.iterdir()
    return bundle


@pytest.fixture
def brought(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the wheels that pip chose once, for what does not depend on the choice."""
    chosen = [path for path in (made / "wheels").iterdir() if not path.name.startswith("fer_edge")]
    monkeypatch.setattr(bundling, "download", lambda lock, target, folder: [shutil.copy(one, folder) for one in chosen])


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_these_files_and_no_others(made: Path) -> None:
    assert made.name == f"fer-edge-{__version__}-pi4"
    assert {name for name in files_in(made) if not name.startswith("wheels/")} == {
        *("README.txt", "SHA256SUMS", "bundle.env", "fer-edge.service", "fer-edge.toml", "install.sh", "profile.toml"),
        *("requirements-3.11.txt", "requirements-3.13.txt", "smoke.npz", "smoke.py"),
        *("model/fer-base.int8.tflite", "model/fer-base.int8.tflite.json"),
        *(f"detector/{DETECTOR}", "detector/LICENSE.txt"),
    }
    assert (made / "install.sh").read_text() == installer()
    assert "verify_bundle() {" in installer() and "#@verify.sh@" not in installer()


def test_each_python_gets_its_own_wheels_each_with_its_hash_and_no_wheel_is_for_nobody(made: Path) -> None:
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in (made / "wheels").iterdir()}
    chosen = {}
    for python in ("3.11", "3.13"):
        lines = (made / f"requirements-{python}.txt").read_text().splitlines()
        pins = dict(line.split(" --hash=sha256:") for line in lines)
        assert list(pins)[-1] == f"fer-edge=={__version__}" and len(pins) == 6
        chosen[python] = {digests[digest] for digest in pins.values()}
        for pin, digest in pins.items():
            assert digests[digest].startswith("-".join(pin.replace("-", "_").split("==")) + "-")
    assert chosen["3.11"] - chosen["3.13"] == {
        "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "numpy-1.26.4-py3-none-any.whl",
    }
    assert set(digests.values()) == chosen["3.11"] | chosen["3.13"]
    assert not [name for name in digests.values() if "x86" in name]


def test_the_shell_reads_the_facts_that_the_installer_asks_for(made: Path) -> None:
    names = (
        "VERSION",
        "BOARD",
        "ARCH",
        "PYTHONS",
        "SYSTEM_SITE_PACKAGES",
        "MODEL",
        "DETECTOR",
        "DETECTOR_FILE",
        "ENGINE",
    )
    script = '. "$1/bundle.env"; ' + "; ".join(f'echo "${name}"' for name in (*names, "WHEEL"))
    command = ["sh", "-euc", script, "sh", str(made)]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert seen == [
        *(__version__, "pi4", "aarch64", "3.11:2.36 3.13:2.41", "yes", "model/fer-base.int8.tflite", "mediapipe"),
        *(f"detector/{DETECTOR}", "ai-edge-litert", f"wheels/fer_edge-{__version__}-py3-none-any.whl"),
    ]
    assert all((made / seen[names.index(name)]).is_file() for name in ("MODEL", "DETECTOR_FILE"))


def test_the_configuration_is_one_that_the_runtime_reads(made: Path, tmp_path: Path, workshop: Workshop) -> None:
    text = (made / "fer-edge.toml").read_text()
    assert text.count("@RELEASE@") == 2
    (tmp_path / "fer-edge.toml").write_text(text.replace("@RELEASE@", str(made)))
    read = read_config(tmp_path / "fer-edge.toml")
    board = workshop.board
    assert str(read.pop("source.camera")) == "0"
    assert read == {
        "camera.width_px": board.camera.width_px,
        "camera.height_px": board.camera.height_px,
        "camera.buffer_count": 4,
        "model.file": made / "model/fer-base.int8.tflite",
        "model.threads": board.engine.threads,
        "detection.detector": "mediapipe",
        "detection.file": made / "detector" / DETECTOR,
        "detection.range": "auto",
    }


def test_a_camera_that_libcamera_does_not_run_has_no_count_of_its_buffers() -> None:
    board = load_profile("x86-64")
    text = bundling._configuration(
        board, Path("model/m.tflite"), bundling._Detector("yunet", Path("detector/d.tflite"))
    )
    assert "buffer_count" not in tomllib.loads(text)["camera"]


def test_the_smoke_run_of_the_bundle_passes_here_and_notices_another_model(made: Path, tmp_path: Path, capsys) -> None:
    words = ("model/fer-base.int8.tflite", "mediapipe", f"detector/{DETECTOR}")
    assert smoke(made, *words) is None
    assert "logits within 0.0000 of the workstation's, detector runs" in capsys.readouterr().out
    other = tmp_path / "other"
    shutil.copytree(made, other)
    with np.load(made / "smoke.npz") as golden:
        np.savez(other / "smoke.npz", faces=golden["faces"], logits=golden["logits"] + 0.5)
    assert smoke(other, *words) == (
        "model/fer-base.int8.tflite: logits differ by 0.500 from the workstation's, expected 0.25 at most"
    )
    with np.load(made / "smoke.npz") as golden:
        np.savez(other / "smoke.npz", faces=golden["faces"], logits=np.full_like(golden["logits"], np.nan))
    assert "logits differ by nan" in str(smoke(other, *words))


def test_the_model_comes_with_its_contract_and_logits_of_faces_of_its_size(made: Path) -> None:
    classifier = Classifier(made / "model/fer-base.int8.tflite")
    assert (made / "model/fer-base.int8.tflite.json").read_text() == classifier.contract.to_json()
    with np.load(made / "smoke.npz") as golden:
        np.testing.assert_allclose(classifier.logits(golden["faces"]), golden["logits"], atol=1e-5)


def test_the_licence_of_the_detector_names_whose_it_is_before_its_text(made: Path) -> None:
    text = (made / "detector/LICENSE.txt").read_text()
    assert text.startswith("Face detector full-range sparse of MediaPipe, copyright The MediaPipe Authors")
    assert "Apache License" in text


def test_the_same_request_gives_the_same_bytes_and_sums_that_sha256sum_accepts(
    workshop: Workshop, archive: Path, made: Path, brought: None, tmp_path: Path
) -> None:
    again = build_bundle(workshop.request(out=tmp_path))
    assert again.read_bytes() == archive.read_bytes()
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=made, capture_output=True).returncode == 0


# --- what cannot be bundled -----------------------------------------------------------------------------------------


def test_a_bundle_that_cannot_be_made_leaves_the_one_before_and_nothing_half_made(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / f"fer-edge-{__version__}-pi4.tar.gz"
    old.write_bytes(b"of an earlier build")
    lock = workshop.board.lock(workshop.board.system[1])
    text = lock.read_text()
    try:
        for harm, message in (
            (text.replace("numpy==2.4.6", "numpy==2.4.5"), "was made for .*Make it again with `fer-edge-lab lock`"),
            (text.replace(text.split("sha256:")[1][:64], "0" * 64), "wheels for aarch64, Python 3.13: "),
        ):
            lock.write_text(harm)
            with pytest.raises(UsageError, match=message):
                build_bundle(workshop.request(out=tmp_path))
    finally:
        lock.write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert old.read_bytes() == b"of an earlier build"


def test_a_key_that_is_not_there_is_told_before_anything_is_brought(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "download", lambda *_: pytest.fail("wheels were brought"))
    with pytest.raises(UsageError, match=r"nokey not found\. Make a key with `ssh-keygen"):
        build_bundle(workshop.request(key=tmp_path / "nokey", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [(b"something else", "not a TFLite model"), (None, "detector file not found")],
)
def test_a_detector_that_is_not_the_published_one_is_refused(
    workshop: Workshop, tmp_path: Path, contents: bytes | None, message: str
) -> None:
    file = tmp_path / "face.tflite"
    if contents is not None:
        file.write_bytes(contents)
    with pytest.raises(ModelError, match=message):
        build_bundle(workshop.request(detector_file=file, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_detector_that_the_boards_engine_cannot_run_is_refused(
    workshop: Workshop, yunet_file: Path, tmp_path: Path
) -> None:
    board = replace(workshop.board, detector=replace(workshop.board.detector, name="yunet"))
    with pytest.raises(UsageError, match=r"expected a \.tflite, which ai-edge-litert runs\. Make YuNet's with"):
        build_bundle(workshop.request(board=board, detector_file=yunet_file, out=tmp_path / "out"))


# --- signatures -----------------------------------------------------------------------------------------------------


def test_a_signed_bundle_is_verified_by_ssh_keygen_as_the_page_says(
    workshop: Workshop, brought: None, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", str(key)], check=True)
    (tmp_path / "signers").write_text(f"me {key.with_suffix('.pub').read_text()}")
    with tarfile.open(build_bundle(workshop.request(key=key, out=tmp_path))) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / f"fer-edge-{__version__}-pi4"
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "me", "-n", "fer-edge"]
    verify += ["-s", str(folder / "SHA256SUMS.sig")]
    sums = (folder / "SHA256SUMS").read_bytes()
    assert subprocess.run(verify, input=sums, capture_output=True).returncode == 0
    assert subprocess.run(verify, input=sums + b"x", capture_output=True).returncode != 0
    assert "SHA256SUMS.sig" not in sums.decode()


# --- archives -------------------------------------------------------------------------------------------------------

NAMES = st.text(string.ascii_letters + string.digits + "._+-", min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", "SHA256SUMS", "SHA256SUMS.sig")
)
TREES = st.dictionaries(
    st.tuples(st.sampled_from(["", "sub/", "sub/deep/"]), NAMES), st.binary(max_size=40), max_size=6
)


def write_tree(folder: Path, tree: dict[tuple[str, str], bytes]) -> dict[str, bytes]:
    files = {}
    for (place, name), data in tree.items():
        path = folder / place / name
        if path.is_dir() or any(parent.is_file() for parent in path.parents):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        files[f"{place}{name}"] = data
    return files


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, st.integers(0, 2**31 - 1))
def test_an_archive_gives_the_files_back_and_says_nothing_of_owner_time_or_umask(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, str], bytes], time_s: int
) -> None:
    folder = tmp_path_factory.mktemp("tree") / "bundle"
    folder.mkdir()
    files = write_tree(folder, tree)
    for name in files:
        (folder / name).chmod(0o600)
        os.utime(folder / name, (time_s, time_s))
    pack(folder, folder.with_name("a.tar.gz"))
    with tarfile.open(folder.with_name("a.tar.gz")) as tar:
        members = tar.getmembers()
        found = {one.name: tar.extractfile(one).read() for one in members if one.isfile()}
    assert found == {f"bundle/{name}": data for name, data in files.items()}
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members} == {(EPOCH_S, 0, 0, "", "")}
    assert all(one.mode == (0o644 if one.isfile() and not one.name.endswith(".sh") else 0o755) for one in members)
    names = [one.name for one in members]
    assert names[0] == "bundle" and len(names) == len(set(names))


@settings(max_examples=10, deadline=None)
@given(TREES)
def test_sums_are_of_every_file_but_the_list_itself(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, str], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("sums")
    files = write_tree(folder, tree)
    (folder / "SHA256SUMS.sig").write_text("of an earlier list")
    write_sums(folder)
    write_sums(folder)
    listed = [line.split("  ./") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in listed} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert [Path(name) for _, name in listed] == sorted(Path(name) for _, name in listed)


def test_an_archive_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "b").symlink_to("nowhere")
    with pytest.raises(OSError):
        pack(folder, tmp_path / "out.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command_for(workshop: Workshop, brought: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The words of `bundle` for the board with the tiny wheels."""
    monkeypatch.setattr(profiles, "load_profile", lambda name: workshop.board)
    detector = bundling.DATA / DETECTOR
    return ["bundle", "pi4", "--artifacts", "nowhere", "--out", str(tmp_path), "--detector-file", str(detector)]


def test_the_command_names_archive_size_digest_and_who_judged_the_model(
    command_for: list[str], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab.main(command_for) == 0
    judged, written = capsys.readouterr().out.splitlines()
    assert judged == (
        "model fer-base.int8.tflite, not judged for armv8; `make quantize MODEL=fer-base TARGET=armv8` does it"
    )
    path, size, unit, label, digest = written.split()
    assert Path(path) == tmp_path / archive.name and unit == "MB" and label == "SHA-256"
    assert float(size) == round(archive.stat().st_size / 1e6)
    assert digest == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_the_command_warns_of_a_model_that_was_forced_past_its_gate(
    command_for: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundling, "forced_past", lambda request: "agreement 90.00% below 98%")
    assert lab.main(command_for) == 0
    assert "warning: fer-base was forced past its gate: agreement 90.00% below 98%" in capsys.readouterr().err


def test_a_model_that_is_nowhere_is_one_line_and_no_archive(
    command_for: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lab.main([*command_for, "--model", "fer-huge"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "fer-huge.int8.tflite not found. Make it with `make export quantize MODEL=fer-huge`." in line
    assert not list(tmp_path.iterdir())
