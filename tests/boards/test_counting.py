"""Counting under emulation, without an emulated system: marks to rows, models that fail, and how a guest is run.

The emulator itself is a shell script here, which shows how it was called; `make count-instructions` runs the real one.
"""

import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from boards.arm64 import counting, emulator, userland
from boards.arm64.cores import CORES, Core
from boards.arm64.emulator import GuestError, Mark, run_guest
from boards.arm64.userland import EmulationError, Userland
from boards.instructions import InstructionRow
from boards.wheels import write_lock
from tests.boards.tiny_wheel import add_wheel, use_as_index

A76 = CORES["cortex-a76"]
FACTS = json.dumps({"engine": "ai-edge-litert", "version": "2.3.0"})


@pytest.fixture
def guest(tmp_path: Path) -> Userland:
    """A userland of which only the names are asked."""
    return Userland(A76, tmp_path / "root", tmp_path / "site")


def marks(*counts: int, dots: int = 7) -> list[Mark]:
    """The marks of one model: one before each inference and one after the last."""
    passed = [Mark(0, 1000, 0)]
    for count in counts:
        last = passed[-1]
        passed.append(Mark(last.number + 1, last.instructions + count, last.dot_products + dots))
    return passed


def model(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text(name)
    return path


def test_a_row_is_the_median_of_the_inferences_of_its_model(guest: Userland, tmp_path: Path) -> None:
    paths = [model(tmp_path, name) for name in ("a.int8.tflite", "b.int8.tflite")]
    passed = [*marks(100, 100, 101, 100, 500), *marks(2000, 2001, 2000, dots=0)]
    first, second = counting.counted_rows(guest, paths, [FACTS, FACTS], passed)
    assert (first.model, first.instructions, first.dot_products) == ("a.int8.tflite", 100, 7)
    assert (second.instructions, second.dot_products) == (2000, 0)
    assert (first.engine, first.engine_version, first.cpu, first.suite) == (
        "ai-edge-litert",
        "2.3.0",
        "cortex-a76",
        "trixie",
    )


def test_counts_that_do_not_repeat_are_no_figure(guest: Userland, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match=r"a\.tflite: inferences took \[100, 150, 200, 250\] instructions"):
        counting.counted_rows(guest, [model(tmp_path, "a.tflite")], [FACTS], marks(100, 150, 200, 250))


def test_models_that_are_not_there_are_all_named(guest: Userland, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.tflite, .*y\.tflite not found\. Make models with `make export quantize`"):
        counting.count_instructions(guest, [tmp_path / "x.tflite", tmp_path / "y.tflite"])


@pytest.fixture
def emulated(guest: Userland, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Path]]:
    """An emulator in which a model named `bad` ends the run; the runs that were asked for."""
    runs: list[Sequence[Path]] = []

    def count(system: Userland, models: Sequence[Path]) -> list[InstructionRow]:
        runs.append(models)
        if any(path.name == "bad" for path in models):
            raise GuestError("count.py on cortex-a76: signal 4: Illegal instruction")
        return [InstructionRow(path.name, "", "", "", "", "", len(path.name), 0) for path in models]

    monkeypatch.setattr(counting, "make_userland", lambda core: guest)
    monkeypatch.setattr(counting, "count_instructions", count)
    return runs


def test_quantize_gets_the_count_of_every_model(emulated: list[Sequence[Path]]) -> None:
    assert counting.count_or_skip([Path("one"), Path("three")], "cortex-a76") == {Path("one"): 3, Path("three"): 5}
    assert len(emulated) == 1, "in one run"


def test_a_model_that_fails_on_the_core_is_left_out_and_said_so(
    emulated: list[Sequence[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert counting.count_or_skip([Path("one"), Path("bad"), Path("four")], "cortex-a76") == {
        Path("one"): 3,
        Path("four"): 4,
    }
    assert capsys.readouterr().out == (
        "instructions not counted: count.py on cortex-a76: signal 4: Illegal instruction\n"
    )


def test_where_nothing_can_be_emulated_quantize_goes_on_without_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(core: Core) -> Userland:
        raise EmulationError("qemu-aarch64 not found. Install: qemu-user")

    monkeypatch.setattr(counting, "make_userland", refuse)
    assert counting.count_or_skip([Path("one")], "cortex-a76") == {}
    assert capsys.readouterr().out == "instructions not counted: qemu-aarch64 not found. Install: qemu-user\n"


def test_a_core_that_is_not_emulated_is_an_error_and_no_reason_to_skip() -> None:
    with pytest.raises(UsageError, match=r"core 'cortex-m4' is not emulated here; there are: cortex-a53"):
        counting.count_or_skip([Path("one")], "cortex-m4")


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a shell script in the place of qemu-aarch64, and no plugin in that of the built one."""
    folder.mkdir(exist_ok=True)
    program = folder / "qemu-aarch64"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ordinary = emulator._environment
    monkeypatch.setattr(emulator, "_environment", lambda guest: {**ordinary(guest), "PATH": f"{folder}:/usr/bin"})
    monkeypatch.setattr(emulator, "_built_plugin", lambda cache: Path("/plugin.so"))


def test_a_guest_sees_the_runtime_and_its_packages_and_nothing_of_this_machine(
    guest: Userland, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("SECRET", "of the host")
    pretend(monkeypatch, tmp_path / "bin", 'echo "$@"; /usr/bin/env')
    printed, passed = run_guest(guest, "count.py", ["a.tflite"])
    command, *environment = printed.splitlines()
    assert command.startswith(f"-L {guest.root} -cpu cortex-a76 -plugin /plugin.so,out=")
    assert command.endswith(f"{guest.python} -B {emulator.GUEST / 'count.py'} a.tflite")
    values = dict(line.split("=", 1) for line in environment)
    assert values["OMP_NUM_THREADS"] == values["OPENBLAS_NUM_THREADS"] == "1", "the counters are the process's"
    assert values["PYTHONPATH"].split(os.pathsep) == [str(Path("runtime").absolute()), str(guest.site)]
    assert "SECRET" not in values
    assert passed == [], "the plugin wrote none"


def test_marks_are_what_the_plugin_wrote(guest: Userland, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = r'for word; do case $word in */plugin.so,out=*) printf "0 100 1\n1 250 3\n" >"${word#*out=}";; esac; done'
    pretend(monkeypatch, tmp_path / "bin", script)
    assert run_guest(guest, "count.py", [])[1] == [Mark(0, 100, 1), Mark(1, 250, 3)]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo first >&2; echo last >&2; exit 3", "count.py on cortex-a76: exit 3: last"),
        ("kill -ILL $$", "count.py on cortex-a76: signal 4: no message"),
    ],
)
def test_a_guest_that_fails_is_one_line_with_its_code_or_signal(
    guest: Userland, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    pretend(monkeypatch, tmp_path / "bin", script)
    with pytest.raises(GuestError, match=message):
        run_guest(guest, "count.py", [])


def test_packages_of_a_userland_are_those_of_its_lock_and_made_again_when_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uv", reason="uv is absent; `make setup` brings it")
    index, lock, site = tmp_path / "index", tmp_path / "lock.txt", tmp_path / "system/site"
    index.mkdir()
    add_wheel(index, "engine", "1.0", tag="cp313-cp313-manylinux_2_28_aarch64")
    use_as_index(index, monkeypatch)
    monkeypatch.setattr("boards.wheels.CONSTRAINTS", Path(os.devnull))
    write_lock(lock, ["engine"], A76.target)
    assert userland._make_site(A76, lock, site) == site
    assert [path.name for path in site.glob("*.dist-info")] == ["engine-1.0.dist-info"]
    (site / "kept").touch()
    userland._make_site(A76, lock, site)
    assert (site / "kept").exists(), "the lock is the same"
    add_wheel(index, "engine", "1.1", tag="cp313-cp313-manylinux_2_28_aarch64")
    write_lock(lock, ["engine"], A76.target)
    userland._make_site(A76, lock, site)
    assert [path.name for path in site.glob("*.dist-info")] == ["engine-1.1.dist-info"]
    assert not (site / "kept").exists()
