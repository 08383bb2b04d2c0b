"""Emulated Arm boards: what the smoke test notices, on a real userland where one has been made."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.errors import UsageError
from fer_edge.models import DEFAULT_MODEL

from boards import lab as command
from boards.arm64.cores import CORES
from boards.arm64.install import Faces, InstallError, fresh_chroot, require_same_faces, try_bundle
from boards.arm64.smoke import SmokeError, smoke, smoke_models
from boards.arm64.userland import CACHE, EmulationError, Userland, lock_of, make_userland
from boards.instructions import INSTRUCTIONS, read_instructions
from boards.profiles import load_profile
from tests.conftest import ROOT, sample
from tests.waiting import eventually


@pytest.fixture(scope="module")
def a72() -> Userland:
    if not (ROOT / CACHE / "bookworm" / "site" / ".lock-sha256").is_file():
        pytest.skip("no arm64 userland; `make arm64-smoke` makes it")
    return make_userland(CORES["cortex-a72"], ROOT / CACHE)


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_a_core_shows_itself_as_linux_does(core) -> None:
    blocks = core.cpuinfo().strip().split("\n\n")
    assert len(blocks) == 4
    assert all(f"CPU part\t: {core.part}" in block for block in blocks)
    assert (ROOT / lock_of(core)).is_file()


def test_only_the_a76_has_dot_products() -> None:
    assert [name for name, core in CORES.items() if "asimddp" in core.features.split()] == ["cortex-a76"]


@pytest.mark.timeout(1200)
def test_the_default_model_does_on_the_core_what_it_does_here(a72: Userland, default_model: Path) -> None:
    recorded = read_instructions(ROOT / INSTRUCTIONS)
    result = smoke(a72, [default_model], sample("astronaut.png"), recorded)
    assert result.labels == ("happy",)
    assert result.differences[0] < 1e-5


@pytest.mark.timeout(1200)
def test_a_model_that_needs_more_instructions_than_recorded_is_noticed(a72: Userland, default_model: Path) -> None:
    recorded = [
        dataclasses.replace(row, instructions=int(row.instructions / 1.03))
        for row in read_instructions(ROOT / INSTRUCTIONS)
    ]
    with pytest.raises(
        SmokeError, match=r"cortex-a72: fer-base\.int8\.tflite: \d+ instructions, 1\.03. of the recorded"
    ):
        smoke(a72, [default_model], sample("astronaut.png"), recorded)


def test_missing_artifacts_are_named_with_the_target_that_makes_them(tmp_path: Path) -> None:
    (tmp_path / "fer-x").mkdir()
    with pytest.raises(UsageError, match=r"fer-x\.fp32\.tflite, .* not found\. Make it with `make export quantize`"):
        smoke_models(tmp_path / "fer-x")


@pytest.mark.parametrize("name", ["arm64-smoke", "instructions"])
def test_without_qemu_a_command_skips_only_where_it_was_told_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fer-x"
    folder.mkdir()
    for kind in ("fp32.tflite", "int8.tflite", "fp32.onnx", "int8.onnx"):
        shutil.copy(DEFAULT_MODEL if kind == "int8.tflite" else os.devnull, folder / f"fer-x.{kind}")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(tmp_path))
    named = folder if name == "arm64-smoke" else folder / "fer-x.int8.tflite"
    assert command.main([name, str(named), "--or-skip"]) == 0
    assert f"{name} skipped: qemu-aarch64 not found. Install: apt install qemu-user" in capsys.readouterr().out
    assert command.main([name, str(named)]) == 2


def test_a_chroot_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(EmulationError, match="qemu-aarch64-static, unshare, chroot not found"),
        fresh_chroot(CORES["cortex-a72"]),
    ):
        pass


def test_a_bundle_that_was_not_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.tar\.gz not found. Make it with `make bundle BOARD=pi4`"):
        list(try_bundle(load_profile("pi4"), tmp_path / "none.tar.gz", tmp_path / "clip.mp4"))
    with pytest.raises(UsageError, match="x86-64 has no emulated core"):
        list(try_bundle(load_profile("x86-64"), tmp_path / "none.tar.gz", tmp_path / "clip.mp4"))


def test_a_program_of_this_machine_ends_where_its_command_is_killed(tmp_path: Path) -> None:
    """mmdebstrap would go on for minutes, and leave its mounts."""
    pid_file = tmp_path / "pid"
    script = f"from boards.arm64.userland import run\nrun(['sh', '-c', 'echo $$ >{pid_file}; exec sleep 300'])"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as parent:
        eventually(lambda: pid_file.is_file() and bool(pid_file.read_text().strip()))
        pid = int(pid_file.read_text())
        parent.kill()
    eventually(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


HERE = [("sad", [325.0, 43.2, 215.9, 303.7]), ("sad", [321.1, 55.7, 223.8, 281.5])]


def test_a_followed_face_may_lie_some_pixels_off_and_a_found_one_may_not() -> None:
    """The numbers are those of a Cortex-A76 and of x86."""
    require_same_faces([HERE[0], ("neutral", [318.2, 52.5, 223.8, 291.6])], HERE)
    with pytest.raises(InstallError, match=r"the first face is 3\.00 px from where x86 has it"):
        require_same_faces([("sad", [328.0, 43.2, 215.9, 303.7]), HERE[1]], HERE)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([], "0 faces, x86 has 2"),
        ([HERE[0]], "1 faces, x86 has 2"),
        ([("happy", HERE[0][1]), HERE[1]], "the first face is happy, on x86 sad"),
        ([HERE[0], ("sad", [20.0, 20.0, 40.0, 40.0])], r"overlaps with that of x86 by 0\.00"),
    ],
)
def test_other_faces_than_those_of_x86_are_an_error(there: Faces, message: str) -> None:
    with pytest.raises(InstallError, match=message):
        require_same_faces(there, HERE)
