"""Checks of the emulated Arm boards can fail: logits, faces and counts of the smoke test, and the installer.

No core is emulated here. The emulator's output is written by the tests, and the chroot is a folder whose installer is
a few lines of Python; `make arm64-smoke` and `make arm64-install` run the real ones.
"""

import contextlib
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.files import sha256_of

from boards.arm64 import install as installing
from boards.arm64 import loop, smoke, userland
from boards.arm64.cores import CORES
from boards.arm64.emulator import Mark, _read_marks
from boards.arm64.install import InstallError, try_bundle
from boards.arm64.loop import LookCase, count_looks
from boards.arm64.smoke import SmokeError
from boards.arm64.userland import Userland
from boards.bundle.archive import pack, write_sums
from boards.instructions import InstructionRow
from boards.profiles import load_profile

A76 = CORES["cortex-a76"]
FACTS = json.dumps({"engine": "ai-edge-litert", "version": "2.3.0"})
KINDS = ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx")


@pytest.fixture
def guest(tmp_path: Path) -> Userland:
    return Userland(A76, tmp_path / "root", tmp_path / "site")


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    (tmp_path / "net").mkdir()
    for kind in KINDS:
        (tmp_path / "net" / f"net.{kind}").write_text(kind)
    return smoke.smoke_models(tmp_path / "net")


def seen(
    logits: Sequence[float] = (0.0, 0.0, 0.0, 0.0), label: str = "happy", left_px: float = 10.0
) -> dict[str, object]:
    """The last line of guest/smoke.py: logits of a face for each model, and the faces of the photograph."""
    faces = [{"label": label, "box_px": [left_px, 20.0, 30.0, 40.0]}]
    return {"logits": [[[1.0 + one, 2.0]] for one in logits], "faces": faces}


@dataclass
class Emulated:
    """The output and the counts of the emulated core."""

    there: dict[str, object]
    counts: list[int] = field(default_factory=lambda: [1000, 2000, 3000, 4000])

    def run(self, system: Userland, program: str, words: Sequence[str], **_: object) -> tuple[str, list[Mark]]:
        marks = [Mark(number, number * count, number) for count in self.counts for number in range(6)]
        return "\n".join([*[FACTS] * 4, json.dumps(self.there)]), marks


@pytest.fixture
def tried(guest: Userland, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the smoke test with an emulated core's output; counts of 1000 to 4000 are on record."""
    monkeypatch.setattr(smoke, "_run_here", lambda words: json.dumps(seen()))
    rows = [InstructionRow(path.name, sha256_of(path), "ai-edge-litert", "2", A76.name, "", 0, 0) for path in models]
    recorded = [replace(row, instructions=1000 * number) for number, row in enumerate(rows, 1)]

    def run(emulated: Emulated, record: Sequence[InstructionRow] = recorded) -> smoke.SmokeResult:
        monkeypatch.setattr(smoke, "run_guest", emulated.run)
        return smoke.smoke(guest, models, tmp_path / "photo.png", record)

    run.recorded = recorded  # type: ignore[attr-defined]
    return run


def test_a_core_that_does_what_x86_does_gives_counts_differences_and_labels(tried) -> None:
    result = tried(Emulated(seen((0.0005, 0.0, 0.0, 0.03))))
    assert [row.instructions for row in result.rows] == [1000, 2000, 3000, 4000]
    assert result.differences == pytest.approx((0.0005, 0, 0, 0.03))
    assert result.labels == ("happy",)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ((0.002, 0, 0, 0), r"net\.fp32\.tflite: logits differ by 0\.002000 from x86, expected 0\.001 at most"),
        ((0, 0.0001, 0, 0), r"net\.int8\.tflite: logits differ by 0\.000100 from x86, expected 1e-05 at most"),
        ((0, 0, 0.002, 0), r"net\.fp32\.onnx: logits differ by 0\.002000 from x86, expected 0\.001 at most"),
        ((0, 0, 0, 0.2), r"net\.int8\.onnx: logits differ by 0\.200000 from x86, expected 0\.1 at most"),
    ],
)
def test_each_kind_of_file_is_held_to_its_own_rounding(tried, logits: tuple[float, ...], message: str) -> None:
    with pytest.raises(SmokeError, match=rf"^cortex-a76: {message}$"):
        tried(Emulated(seen(logits)))


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (seen(label="sad"), r"faces \['sad'\], x86 has \['happy'\]"),
        (seen(left_px=12.0), r"box \[12\.0, 20\.0, 30\.0, 40\.0\], x86 has \[10\.0"),
        (seen() | {"faces": []}, r"faces \[\], x86 has \['happy'\]"),
    ],
    ids=["another expression", "elsewhere", "nobody"],
)
def test_other_faces_than_here_are_told(tried, there: dict[str, object], message: str) -> None:
    with pytest.raises(SmokeError, match=message):
        tried(Emulated(there))


def test_a_photograph_without_a_face_proves_nothing(tried, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = seen() | {"faces": []}
    monkeypatch.setattr(smoke, "_run_here", lambda words: json.dumps(nobody))
    with pytest.raises(SmokeError, match="no face in the photograph"):
        tried(Emulated(nobody))


def test_counts_may_be_two_per_cent_off_and_no_more(tried) -> None:
    tried(Emulated(seen(), [1019, 1961, 3000, 4000]))
    with pytest.raises(SmokeError) as refused:
        tried(Emulated(seen(), [1021, 1959, 3000, 4000]))
    assert str(refused.value) == (
        "cortex-a76: net.fp32.tflite: 1021 instructions, 1.021 of the recorded 1000; "
        "net.int8.tflite: 1959 instructions, 0.980 of the recorded 2000"
    )


def test_newer_weights_are_held_to_the_count_of_their_name_and_unknown_ones_must_be_counted(tried) -> None:
    newer = [replace(row, model_sha256="of older weights") for row in tried.recorded]
    tried(Emulated(seen()), newer)
    with pytest.raises(SmokeError, match=r"net\.fp32\.tflite: 1000 instructions, 0\.500 of the recorded 2000"):
        tried(Emulated(seen()), [replace(newer[0], instructions=2000), *newer[1:]])
    for unlike in ({"cpu": "cortex-a72"}, {"engine": "onnxruntime"}, {"model": "other", "model_sha256": "x"}):
        record = [replace(tried.recorded[0], **unlike), *tried.recorded[1:]]
        with pytest.raises(SmokeError, match=r"^cortex-a76: net\.fp32\.tflite: no count recorded; `make count-instr"):
            tried(Emulated(seen()), record)


def test_a_program_that_fails_here_is_not_taken_for_a_fault_of_the_core(
    guest: Userland, models: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(SmokeError, match=r"^x86: "):
        smoke.smoke(guest, models, tmp_path / "nosuch.png", [])


# --- looks and marks ------------------------------------------------------------------------------------------------


def test_marks_of_a_run_that_passed_none_are_none(tmp_path: Path) -> None:
    assert _read_marks(tmp_path / "nosuch") == []
    (tmp_path / "marks").write_text("0 10 2\n1 30 5\n")
    assert _read_marks(tmp_path / "marks") == [Mark(0, 10, 2), Mark(1, 30, 5)]


@pytest.mark.parametrize(("found", "holds"), [([1, 1], True), ([1, 0], False), ([2, 1], False)])
def test_a_look_is_counted_only_where_each_detector_finds_the_one_face(
    guest: Userland, models: list[Path], monkeypatch: pytest.MonkeyPatch, found: list[int], holds: bool
) -> None:
    counts = [(100, 1), (300, 3), (110, 1), (4000, 9), (5000, 9), (4500, 9)]
    marks = [mark for run in (counts[:3], counts[3:]) for mark in running(run)]
    monkeypatch.setattr(loop, "clip_frames", lambda clip, count: np.zeros((count, 4, 4, 3), np.uint8))
    monkeypatch.setattr(loop, "run_guest", lambda *_: (f"libcamera\n{json.dumps(found)}\n", marks))
    cases = [LookCase("yunet", models[0], None), LookCase("yunet", models[1], 256)]
    if not holds:
        with pytest.raises(loop.GuestError, match="expected one with each detector"):
            count_looks(guest, Path("clip.mp4"), cases)
        return
    own, larger = count_looks(guest, Path("clip.mp4"), cases)
    assert (own.model, own.instructions, own.dot_products) == ("look, yunet", 110, 1)
    assert (larger.model, larger.instructions) == ("look, yunet, 256 px", 4500)
    assert own.model_sha256 != larger.model_sha256


def running(counts: Sequence[tuple[int, int]]) -> list[Mark]:
    marks = [Mark(0, 5, 5)]
    for instructions, dots in counts:
        last = marks[-1]
        marks.append(Mark(last.number + 1, last.instructions + instructions, last.dot_products + dots))
    return marks


# --- the bundle in a chroot -----------------------------------------------------------------------------------------


@dataclass
class Chroot:
    """A root whose install.sh does what the real one does as far as `try_bundle` looks; `faults` are left out."""

    root: Path
    faults: frozenset[str] = frozenset()

    def run(self, command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        code, output = 0, ""
        if command[0] == "/bin/sh":
            code, output = self._install(self.root / str(Path(command[1]).parent).lstrip("/"), list(command[2:]))
        elif "--version" in command:
            output = "fer-edge 0.1.0\n"
        elif "--jsonl" in command:
            (self.root / "tmp/faces.jsonl").write_text(FACES)
        return subprocess.CompletedProcess(list(command), code, output)

    def _install(self, bundle: Path, words: list[str]) -> tuple[int, str]:
        prefix = self.root / "opt/fer-edge"
        if words == ["uninstall", "--purge"]:
            if "uninstall" not in self.faults:
                for path in prefix.iterdir():
                    path.unlink()
                prefix.rmdir()
            return 0, ""
        if words == ["rollback"]:
            if "rollback" not in self.faults:
                point(prefix / "current", (prefix / "previous").readlink())
            return 0, ""
        whole = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, capture_output=True)
        if whole.returncode and "sums" not in self.faults:
            return 2, "install.sh: a file is not what it was when it was bundled."
        with np.load(bundle / "smoke.npz") as golden:
            broken = golden["logits"].max() > 5
        if broken and "smoke" not in self.faults:
            return 4, "smoke run: logits differ by 9"
        self._switch(prefix, Path(str(len((bundle / "README.txt").read_text()))))
        return 0, "in use"

    def _switch(self, prefix: Path, release: Path) -> None:
        prefix.mkdir(parents=True, exist_ok=True)
        if (prefix / "current").is_symlink():
            point(
                prefix / "previous", Path("nowhere") if "previous" in self.faults else (prefix / "current").readlink()
            )
            if "upgrade" in self.faults:
                return
        point(prefix / "current", release)


def point(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


FACES = json.dumps({"faces": [{"expression": "happy", "box_px": [1.0, 2.0, 30.0, 40.0]}]}) + "\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    bundle = tmp_path / "made/fer-edge-1-pi5"
    (bundle / "wheels").mkdir(parents=True)
    (bundle / "wheels/numpy-2.4.6-cp313.whl").write_bytes(b"wheel")
    for name in ("install.sh", "README.txt", "fer-edge.toml"):
        (bundle / name).write_text(name)
    np.savez(bundle / "smoke.npz", faces=np.zeros(1), logits=np.zeros(1))
    write_sums(bundle)
    pack(bundle, tmp_path / "bundle.tar.gz")
    return tmp_path / "bundle.tar.gz"


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Give `try_bundle` a chroot with faults; the faces of this machine are those of the board."""
    (tmp_path / "root/tmp").mkdir(parents=True)
    (tmp_path / "clip.mp4").write_bytes(b"clip")
    monkeypatch.setattr(installing, "_faces_here", lambda bundle, clip: [("happy", [1.0, 2.0, 30.0, 40.0])])

    def enter(*faults: str) -> Path:
        chroot = Chroot(tmp_path / "root", frozenset(faults))
        monkeypatch.setattr(installing, "fresh_chroot", lambda core: contextlib.nullcontext(chroot))
        return tmp_path / "clip.mp4"

    return enter


def test_a_bundle_that_does_all_it_must_is_told_step_by_step(enter, archive: Path) -> None:
    told = list(try_bundle(load_profile("pi5"), archive, enter()))
    assert told == [
        "a flipped byte in a wheel: refused, nothing changed",
        "installed offline: fer-edge 0.1.0",
        "fer-edge --source clip.mp4, 3 frames: the faces of x86: happy",
        "no fer-edge.service in this bundle, so none was verified",
        "upgrade: the new release is in use, the one before is kept",
        "roll-back: the release before is in use again, and passed its smoke run",
        "a release whose smoke run fails: refused, the one before stays in use",
        "uninstall leaves nothing behind",
    ]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sums", r"install\.sh: exit 0, expected 2 and 'a file is not what it was'"),
        ("upgrade", "an upgrade left the old release in use"),
        ("previous", "the release before was not kept"),
        ("rollback", "roll-back left the new release in use"),
        ("smoke", r"install\.sh: exit 0, expected 4 and 'logits differ'"),
        ("uninstall", "opt/fer-edge is still there after uninstall"),
    ],
)
def test_an_installer_that_leaves_a_step_out_is_caught(enter, archive: Path, fault: str, message: str) -> None:
    clip = enter(fault)
    with pytest.raises(InstallError, match=message):
        list(try_bundle(load_profile("pi5"), archive, clip))


def test_the_wheel_is_whole_again_after_the_byte_was_flipped(enter, archive: Path, tmp_path: Path) -> None:
    steps = try_bundle(load_profile("pi5"), archive, enter())
    next(steps)
    assert (tmp_path / "root/tmp/fer-edge-1-pi5/wheels/numpy-2.4.6-cp313.whl").read_bytes() == b"wheel"


def test_a_board_without_an_emulated_core_is_refused_before_its_archive_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^jetson-nano has no emulated core to install on\.$"):
        next(try_bundle(load_profile("jetson-nano"), tmp_path / "nosuch", tmp_path / "clip.mp4"))


def test_an_archive_with_a_path_out_of_its_folder_is_not_unpacked(enter, tmp_path: Path) -> None:
    evil = tmp_path / "evil.tar.gz"
    (tmp_path / "a").write_text("a")
    with tarfile.open(evil, "w:gz") as tar:
        for name in ("b/install.sh", "b/SHA256SUMS", "b/../../../escaped"):
            tar.add(tmp_path / "a", name)
    with pytest.raises(tarfile.FilterError):
        list(try_bundle(load_profile("pi5"), evil, enter()))
    assert not (tmp_path / "escaped").exists()


# --- the userland ---------------------------------------------------------------------------------------------------


def test_programs_that_are_missing_are_all_named_with_the_packages_that_bring_them() -> None:
    with pytest.raises(
        userland.EmulationError, match=r"^nosuch-a, nosuch-b not found\. Install: apt install qemu-user"
    ):
        userland.require_tools("sh", "nosuch-a", "nosuch-b")


# Makes the folder that mmdebstrap would unpack into, or fails as it would without a network; it notes that it ran.
MMDEBSTRAP = """#!/bin/sh
echo run >>"$(dirname "$0")/runs"
for word; do case $word in */root.part) mkdir -p "$word/usr/bin"; touch "$word/usr/bin/python3" ;; esac; done
[ ! -e "$(dirname "$0")/offline" ] || { echo "E: no mirror" >&2; exit 25; }
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for mmdebstrap, first on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "mmdebstrap").write_text(MMDEBSTRAP)
    (folder / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(userland, "debian_mirror", list)
    return folder


def runs(tools: Path) -> int:
    return len((tools / "runs").read_text().splitlines())


def test_a_root_is_made_once_and_shows_the_core_it_is_for(tools: Path, tmp_path: Path) -> None:
    root = userland.make_root(A76, tmp_path / "suite/root")
    assert userland.make_root(CORES["cortex-a72"], root) == root
    assert runs(tools) == 1
    assert (root / "usr/bin/python3").exists()
    assert [path.name for path in root.parent.iterdir()] == ["root"]
    assert (root / "proc/cpuinfo").read_text() == CORES["cortex-a72"].cpuinfo()
    assert (root / "sys/devices/system/cpu/online").read_text() == "0-3\n"


def test_a_root_of_another_list_of_packages_is_made_again(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = userland.make_root(A76, tmp_path / "root")
    (root / "of-the-old-list").touch()
    monkeypatch.setattr(userland, "_PACKAGES", ("bash",))
    userland.make_root(A76, root)
    assert runs(tools) == 2 and not (root / "of-the-old-list").exists()


def test_a_root_that_cannot_be_made_is_not_there_and_is_tried_again(tools: Path, tmp_path: Path) -> None:
    (tools / "offline").touch()
    with pytest.raises(userland.EmulationError, match=r"^mmdebstrap failed: E: no mirror"):
        userland.make_root(A76, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    (tools / "offline").unlink()
    userland.make_root(A76, tmp_path / "root")
    assert (tmp_path / "root/usr/bin/python3").exists()


def test_a_command_that_fails_is_one_line_with_its_last_words() -> None:
    with pytest.raises(userland.EmulationError) as refused:
        userland.run(["sh", "-c", "echo first >&2; echo last words >&2; exit 3"])
    assert "last words" in str(refused.value) and "\n" not in str(refused.value)
