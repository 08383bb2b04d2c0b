"""The bundle and its installer, for this machine's own architecture: refusals, upgrade, roll-back, uninstall.

The installer runs for real, venv and offline pip included. What arm64 adds is `make arm64-install`.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.detectors import DETECTOR_FILES, default_detector, open_detector
from fer_edge.errors import ModelError, UsageError
from fer_edge.models import DEFAULT_MODEL

from boards.bundle import BundleRequest, build_bundle, forced_past, model_file, which_model
from boards.bundle.archive import pack, sign, write_sums
from boards.bundle.runtime_wheel import build_runtime_wheel
from boards.profiles import load_profile
from export.metadata import put_in_tflite
from quantize.deployment import Deployment, write_deployments
from tests.boards.conftest import bundle_for_this_machine
from tests.runtime.fakes.models import write_onnx

INSTALL_TIMEOUT_S = 1500  # half a minute where the machine is quiet


def install(bundle: Path, prefix: Path, *words: str) -> subprocess.CompletedProcess[str]:
    action, *options = words if words and not words[0].startswith("-") else ("install", *words)
    command = [
        "sh",
        str(bundle / "install.sh"),
        action,
        "--prefix",
        str(prefix / "fer-edge"),
        "--bin",
        str(prefix / "bin"),
    ]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIP_FIND_LINKS")}
    return subprocess.run(
        [*command, "--no-service", *options],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        env=environment,
    )


@pytest.fixture(scope="module")
def light(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with small files in place of its large wheels, for what is refused before any wheel is opened."""
    copy = copy_of(bundle, tmp_path_factory.mktemp("light"))
    for wheel in (copy / "wheels").iterdir():
        if wheel.stat().st_size > 1 << 20:
            rewrite(wheel, wheel.name.encode())
    write_sums_again(copy)
    return copy


def copy_of(bundle: Path, folder: Path) -> Path:
    """A copy whose large files are links, so that it costs nothing."""
    shutil.copytree(bundle, folder / bundle.name, copy_function=os.link)
    return folder / bundle.name


def rewrite(path: Path, data: bytes) -> None:
    """Replace a linked file without touching the original."""
    path.unlink()
    path.write_bytes(data)


def test_the_bundle_holds_what_the_board_needs(bundle: Path) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {"install.sh", "SHA256SUMS", "fer-edge.toml", "profile.toml", "smoke.npz"} <= names
    assert "model/fer-base.int8.tflite" in names
    assert any(name.startswith("wheels/ai_edge_litert-") for name in names)
    assert any(name.startswith("wheels/fer_edge-") for name in names)
    assert os.access(bundle / "install.sh", os.X_OK)


def test_the_bundle_carries_the_default_detector_with_its_licence(bundle: Path) -> None:
    name = default_detector()
    file = bundle / "detector" / DETECTOR_FILES[name].path.name
    assert open_detector(name, file).name == name
    assert f'detector = "{name}"' in (bundle / "fer-edge.toml").read_text()
    licence = (bundle / "detector" / "LICENSE.txt").read_text()
    assert licence.startswith(DETECTOR_FILES[name].notice)
    assert "Apache License" in licence and "Grant of Patent License" in licence


def test_a_detector_the_boards_engine_does_not_run_is_refused(tmp_path: Path, yunet_file: Path) -> None:
    request = BundleRequest(load_profile("pi5"), "fer-base", Path("nowhere"), tmp_path, detector_file=yunet_file)
    with pytest.raises(UsageError, match=r"expected a \.tflite, which ai-edge-litert runs"):
        build_bundle(request)
    assert list(tmp_path.iterdir()) == []


def test_every_file_is_listed_with_its_sum(bundle: Path) -> None:
    listed = dict(reversed(line.split("  ./")) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    present = {p.relative_to(bundle).as_posix(): p for p in bundle.rglob("*") if p.is_file() and p.name != "SHA256SUMS"}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in present.items()}


def test_a_flipped_byte_in_any_file_is_refused_before_anything_changes(light: Path, tmp_path: Path) -> None:
    generator = random.Random(0)
    for path in sorted(p for p in light.rglob("*") if p.is_file()):
        copy = copy_of(light, tmp_path / path.name)
        data = bytearray(path.read_bytes())
        # not in install.sh's code: a program cannot vouch for itself, which is why the sums are checked first
        position = data.index(b"Install, upgrade") if path.name == "install.sh" else generator.randrange(len(data))
        data[position] ^= 1 << generator.randrange(7)
        rewrite(copy / path.relative_to(light), bytes(data))
        finished = install(copy, tmp_path / "target")
        assert finished.returncode == 2, (path.name, finished.stdout, finished.stderr)
        assert not (tmp_path / "target").exists(), path.name
        shutil.rmtree(copy)


@pytest.mark.parametrize("spelling", [str.upper, lambda line: line.replace("  ", " *", 1), lambda line: line + " "])
def test_another_spelling_of_the_sums_is_refused(light: Path, tmp_path: Path, spelling) -> None:
    copy = copy_of(light, tmp_path)
    lines = (light / "SHA256SUMS").read_text().splitlines()
    rewrite(copy / "SHA256SUMS", "\n".join([spelling(lines[0]), *lines[1:], ""]).encode())
    finished = install(copy, tmp_path / "target")
    assert (finished.returncode, "SHA256SUMS is damaged" in finished.stderr) == (2, True)


def test_a_file_nobody_listed_is_refused(light: Path, tmp_path: Path) -> None:
    copy = copy_of(light, tmp_path)
    (copy / "wheels" / "numpy-99-py3-none-any.whl").write_bytes(b"mischief")
    assert "files are not those SHA256SUMS lists" in install(copy, tmp_path / "target").stderr
    (copy / "wheels" / "numpy-99-py3-none-any.whl").unlink()
    (copy / "link").symlink_to("/etc/passwd")
    assert "neither file nor folder" in install(copy, tmp_path / "target").stderr


@pytest.mark.parametrize(
    ("fact", "other", "message"),
    [
        ('ARCH="x86_64"', 'ARCH="riscv64"', "this bundle is for riscv64, this machine is x86_64"),
        ('PYTHONS="', 'PYTHONS="3.8:2.31"\n#"', "this bundle is for Python 3.8, this machine has"),
        (":2.36", ":2.99", "glibc 2.99 or newer is needed"),
    ],
)
def test_another_machine_is_refused_before_anything_changes(
    light: Path, tmp_path: Path, fact: str, other: str, message: str
) -> None:
    copy = copy_of(light, tmp_path)
    text = (copy / "bundle.env").read_text()
    assert fact in text
    rewrite(copy / "bundle.env", text.replace(fact, other).encode())
    (copy / "SHA256SUMS").unlink()
    write_sums(copy)
    finished = install(copy, tmp_path / "target")
    assert (finished.returncode, message in finished.stderr) == (2, True), finished.stderr
    assert not (tmp_path / "target").exists()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two OpenSSH keys, and who may sign: the first."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "signers").write_text(f"release@example {(folder / 'ours.pub').read_text()}")
    return folder


def test_only_a_known_signature_is_taken_where_signers_are_named(light: Path, keys: Path, tmp_path: Path) -> None:
    copy = copy_of(light, tmp_path)
    signers = ("--signers", str(keys / "signers"))
    assert "the bundle is not signed" in install(copy, tmp_path / "target", *signers).stderr
    sign(copy / "SHA256SUMS", keys / "theirs")
    assert "not signed by anybody" in install(copy, tmp_path / "target", *signers).stderr
    (copy / "SHA256SUMS.sig").unlink()
    sign(copy / "SHA256SUMS", keys / "ours")
    rewrite(copy / "bundle.env", (copy / "bundle.env").read_bytes() + b"# other\n")
    write_sums_again(copy)
    finished = install(copy, tmp_path / "target", *signers)
    assert "signature of release@example does not fit" in finished.stderr
    assert not (tmp_path / "target").exists()


def write_sums_again(copy: Path) -> None:
    (copy / "SHA256SUMS").unlink()
    write_sums(copy)


def test_a_key_that_cannot_sign_is_one_error(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not found\. Make a key with"):
        sign(bundle / "SHA256SUMS", tmp_path / "no-key")
    (tmp_path / "bad").write_text("not a key")
    with pytest.raises(UsageError, match="cannot sign"):
        sign(bundle / "SHA256SUMS", tmp_path / "bad")


def test_unknown_words_and_relative_places_are_refused(light: Path, tmp_path: Path) -> None:
    assert "unknown argument --fast" in install(light, tmp_path, "--fast").stderr
    assert "expected an absolute path" in install(light, Path("here")).stderr
    assert "no fer-edge in" in install(light, tmp_path, "uninstall").stderr
    assert "no fer-edge in" in install(light, tmp_path, "rollback").stderr


@pytest.mark.slow
@pytest.mark.timeout(4000)
def test_install_upgrade_broken_upgrade_roll_back_uninstall(bundle: Path, keys: Path, tmp_path: Path) -> None:
    """One story, because each step needs the one before and a venv takes long to make."""
    target, current = tmp_path / "target", tmp_path / "target/fer-edge/current"
    first = copy_of(bundle, tmp_path / "first")
    sign(first / "SHA256SUMS", keys / "ours")
    finished = install(first, target, "--signers", str(keys / "signers"))
    assert finished.returncode == 0, finished.stderr
    assert "signed by release@example" in finished.stdout
    assert "logits within" in finished.stdout
    version = subprocess.run([target / "bin/fer-edge", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == "fer-edge 0.1.0\n"
    release_1 = current.readlink()
    configuration = target / "fer-edge/fer-edge.toml"
    assert f'file = "{current}/model/fer-base.int8.tflite"' in configuration.read_text()
    configuration.write_text("# mine\n")

    broken = copy_of(bundle, tmp_path / "broken")
    rewrite(broken / "smoke.py", b"import sys\nsys.exit('smoke run: it burns')\n")
    write_sums_again(broken)
    finished = install(broken, target)
    assert (finished.returncode, "it burns" in finished.stderr) == (4, True)
    assert current.readlink() == release_1
    assert len(list((target / "fer-edge/releases").iterdir())) == 1

    second = copy_of(bundle, tmp_path / "second")
    rewrite(second / "README.txt", b"a later build\n")
    unit = "[Service]\nExecStart=/opt/fer-edge/bin/fer-edge --config /etc/fer-edge/fer-edge.toml --quiet\n"
    (second / "fer-edge.service").write_text(unit)
    write_sums_again(second)
    finished = install(second, target, "--units", str(tmp_path / "units"))
    assert finished.returncode == 0, finished.stderr
    started = f"ExecStart={current}/venv/bin/fer-edge --config {configuration} --quiet\n"
    assert (tmp_path / "units/fer-edge.service").read_text() == f"[Service]\n{started}"
    assert current.readlink() != release_1
    assert (target / "fer-edge/previous").readlink() == release_1
    assert configuration.read_text() == "# mine\n"
    assert "is installed already" in install(second, target).stdout

    finished = install(second, target, "rollback")
    assert finished.returncode == 0, finished.stderr
    assert current.readlink() == release_1
    assert subprocess.run([target / "bin/fer-edge", "--version"]).returncode == 0

    finished = install(second, target, "uninstall")
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in target.rglob("*") if path.is_file() or path.is_symlink()] == ["fer-edge.toml"]
    assert configuration.read_text() == "# mine\n"


def test_two_wheels_of_the_same_sources_are_the_same_bytes(tmp_path: Path) -> None:
    first, second = (build_runtime_wheel(tmp_path / name) for name in ("a", "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_an_archive_does_not_tell_when_or_by_whom_it_was_made(tmp_path: Path) -> None:
    for name, mode in (("a", 0o600), ("b", 0o664)):
        folder = tmp_path / name / "bundle"
        folder.mkdir(parents=True)
        (folder / "install.sh").write_text("#!/bin/sh\n")
        (folder / "install.sh").chmod(mode)
        os.utime(folder / "install.sh", (1, 1_000_000 * mode))
        pack(folder, tmp_path / f"{name}.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


def test_a_model_that_is_nowhere_names_the_target_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fer-huge\.int8\.tflite not found\. Make it with `make export quantize"):
        model_file(BundleRequest(load_profile("pi4"), "fer-huge", tmp_path))


def test_the_packaged_model_is_bundled_where_no_artifact_was_made(tmp_path: Path, default_model: Path) -> None:
    assert model_file(BundleRequest(load_profile("pi4"), "fer-base", tmp_path)) == DEFAULT_MODEL


def test_a_model_that_was_forced_past_its_gate_is_named(tmp_path: Path, default_model: Path) -> None:
    request = BundleRequest(load_profile("pi4"), "fer-base", tmp_path)
    assert forced_past(request) is None
    contract = Classifier(default_model).contract
    assert contract.quantization is not None
    forced = replace(contract.quantization, forced=True, failed="accuracy drop 4.00 points above 0.3")
    (tmp_path / "fer-base").mkdir()
    copy = tmp_path / "fer-base" / default_model.name
    copy.write_bytes(put_in_tflite(default_model.read_bytes(), replace(contract, quantization=forced)))
    assert forced_past(request) == "accuracy drop 4.00 points above 0.3"


def test_the_file_that_quantize_found_best_for_the_boards_target_is_bundled(
    tmp_path: Path, default_model: Path
) -> None:
    folder = tmp_path / "fer-base"
    folder.mkdir()
    shutil.copyfile(default_model, folder / "fer-base.int8.tflite")
    best = folder / "fer-base.fp16.tflite"
    shutil.copyfile(default_model, best)
    digest = hashlib.sha256(best.read_bytes()).hexdigest()
    entry = Deployment(
        target="armv8", suffix="tflite", file=best.name, precision="fp16", sha256=digest, reason="INT8 not passed"
    )
    write_deployments(folder / "deploy.json", (entry,))
    assert model_file(BundleRequest(load_profile("pi4"), "fer-base", tmp_path)) == best
    # The outcome for another target says nothing of this one.
    other = BundleRequest(load_profile("pi5"), "fer-base", tmp_path)
    assert model_file(other) == folder / "fer-base.int8.tflite"
    advice = "not judged for armv8.2-dot; `make quantize MODEL=fer-base TARGET=armv8.2-dot` does it"
    assert which_model(other) == f"fer-base.int8.tflite, {advice}"
    judged = BundleRequest(load_profile("pi4"), "fer-base", tmp_path)
    assert which_model(judged) == "fer-base.fp16.tflite, as quantize found for armv8: INT8 not passed"
    best.write_bytes(b"changed since")
    with pytest.raises(ModelError, match=r"names for armv8, was changed since it was measured"):
        model_file(BundleRequest(load_profile("pi4"), "fer-base", tmp_path))


def run_installed(prefix: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as it was installed, without a word about its model or detector."""
    return subprocess.run([prefix / "bin" / "fer-edge", *words], capture_output=True, text=True, timeout=120)


@pytest.fixture
def onnx_alone(contract: ModelContract, tmp_path: Path) -> Path:
    """artifacts/ with a model that has no .tflite, as an adopted network whose operators LiteRT lacks."""
    folder = tmp_path / "artifacts" / "mine"
    folder.mkdir(parents=True)
    write_onnx(folder / "mine.int8.onnx", replace(contract, name="mine"))
    return folder.parent


@pytest.mark.parametrize("board", ["pi-zero-2w", "pi4", "pi5", "arm64", "x86-64"])
def test_a_model_without_a_tflite_takes_onnxruntime(board: str, onnx_alone: Path) -> None:
    request = BundleRequest(load_profile(board), "mine", onnx_alone)
    assert model_file(request) == onnx_alone / "mine" / "mine.int8.onnx"
    assert request.profile.engine.name == "onnxruntime"
    assert all(system.version_of("onnxruntime") for system in request.profile.system)
    (onnx_alone / "mine" / "mine.int8.tflite").touch()
    assert request.profile == load_profile(board)


def test_a_jetson_takes_litert_for_a_model_without_onnx(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.fp32.tflite").touch()
    request = BundleRequest(load_profile("jetson-orin-nano"), "mine", tmp_path)
    assert model_file(request).name == "mine.fp32.tflite"
    assert (request.profile.engine.name, request.profile.engine.providers) == ("ai-edge-litert", ())


def test_a_board_with_one_engine_refuses_the_others_files(onnx_alone: Path) -> None:
    board = load_profile("pi4")
    alone = replace(board, engine=replace(board.engine, alternative=None))
    with pytest.raises(UsageError, match=r"board pi4 runs \.tflite files alone, and this model is a \.onnx\."):
        model_file(BundleRequest(alone, "mine", onnx_alone))


@pytest.mark.slow
def test_a_bundle_with_onnxruntime_installs_and_runs(
    onnx_alone: Path, contract: ModelContract, yunet_file: Path, astronaut: np.ndarray, tmp_path: Path
) -> None:
    archive = bundle_for_this_machine("mine", onnx_alone, tmp_path, yunet_file)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    wheels = {path.name.partition("-")[0] for path in (unpacked / "wheels").iterdir()}
    assert "onnxruntime" in wheels and "ai_edge_litert" not in wheels
    finished = install(unpacked, tmp_path / "target")
    assert finished.returncode == 0, finished.stderr
    assert "smoke run: logits within 0.0000" in finished.stdout
    doctor = run_installed(tmp_path / "target", "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "model in use       mine.int8.onnx" in doctor.stdout
    cv2.imwrite(str(tmp_path / "photo.png"), astronaut)
    seen = run_installed(tmp_path / "target", str(tmp_path / "photo.png"), "--jsonl", "-")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout.splitlines()[0])["faces"][0]["expression"] in contract.labels


def test_the_smoke_runs_golden_logits_are_the_models(bundle: Path, default_model: Path) -> None:
    with np.load(bundle / "smoke.npz") as golden:
        assert golden["faces"].shape == (8, 48, 48)
        assert np.ptp(golden["logits"]) > 1
