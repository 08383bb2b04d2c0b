"""A shell on a virtual board, with this machine's own shell in the place of the board's."""

import subprocess
from pathlib import Path

import pytest

from boards.vm import board as virtual
from boards.vm.board import Shell
from boards.vm.machine import Result
from boards.vm.report import CheckError


class Here:
    """Runs what is meant for the guest on this machine, where `journalctl` says one line."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def run(self, command: str, limit_s: float) -> Result:
        self.commands.append(command)
        words = f"journalctl() {{ echo 'camera lost'; }}; {command}"
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=limit_s)
        return Result(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.fixture
def board(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A board whose results are in a folder of the test."""
    monkeypatch.setattr(virtual, "RESULTS", str(tmp_path))
    monkeypatch.setattr(virtual.time, "sleep", lambda seconds: None)
    return Shell(here)  # type: ignore[arg-type]


def test_a_command_that_must_end_well_gives_its_output(board: Shell) -> None:
    assert board._must("echo one; echo two >&2") == "one\ntwo\n"


def test_one_that_fails_is_a_check_that_does_not_hold_with_its_code_and_last_words(board: Shell) -> None:
    with pytest.raises(CheckError, match=r"^echo why; false: exit code 1: why$"):
        board._must("echo why; false")


def test_long_commands_and_outputs_are_cut(board: Shell) -> None:
    with pytest.raises(CheckError) as held:
        board._must(f"printf 'x%.0s' $(seq 2000); exit 3 # {'long ' * 100}")
    assert len(str(held.value)) < 750


def test_results_are_whole_lines_of_json(board: Shell, tmp_path: Path) -> None:
    (tmp_path / "faces.jsonl").write_text('{"frame_index": 0}\n{"frame_index": 1}\n')
    assert (board._whole(), board._lines()) == (2, 2)


def test_a_torn_line_is_named_by_its_number(board: Shell, tmp_path: Path) -> None:
    (tmp_path / "faces.jsonl").write_text('{"frame_index": 0}\n{"frame_ind\n')
    with pytest.raises(CheckError, match=r'line 2 of faces\.jsonl is torn: \{"frame_ind'):
        board._whole()


def test_a_condition_is_asked_again_until_it_holds(board: Shell, here: Here, tmp_path: Path) -> None:
    """It holds from the third time on."""
    (tmp_path / "tries").write_text("")
    board._until(f"echo >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) -ge 3 ]", 60)
    assert len(here.commands) == 3


def test_a_condition_that_does_not_come_about_is_told_with_the_journal(board: Shell) -> None:
    with pytest.raises(CheckError, match="not within 0 s: false; journal: camera lost"):
        board._until("false", 0)
