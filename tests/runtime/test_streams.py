"""Standard streams that are closed, full or of another encoding; names that hold control characters."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.errors import UsageError, run_reporting
from fer_edge.streams import escape_unencodable, printable

from tests.conftest import sample
from tests.runtime.test_engines import patched

pytestmark = pytest.mark.usefixtures("mediapipe_file")


def fer_edge(*words: object, closed: tuple[int, ...] = (), **environ: str) -> "subprocess.CompletedProcess[str]":
    """The command as a process, some of its standard streams closed as by a supervisor."""
    shell = " ".join(f"{descriptor}>&-" if descriptor else "<&-" for descriptor in closed)
    command = ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "fer_edge", *map(str, words)]
    return subprocess.run(command, capture_output=True, encoding="latin-1", timeout=120, env={**os.environ, **environ})


@pytest.fixture(scope="module")
def astronaut_file() -> Path:
    return sample("astronaut.png")


@pytest.fixture
def umlaut_model(default_model: Path, tmp_path: Path) -> Path:
    """The default model with "fröh" for "happy"."""
    return patched(default_model, tmp_path / "umlaut.tflite", b'"happy"', '"fröh"'.encode())


@pytest.mark.parametrize("closed", [(1,), (0, 1), (0, 1, 2)])
def test_a_run_with_closed_streams_leaves_its_results_whole(
    closed: tuple[int, ...], astronaut_file: Path, tmp_path: Path
) -> None:
    """A file that is opened must not become the closed stream, or what is printed lands in it."""
    usual, out = tmp_path / "usual.jsonl", tmp_path / "out.jsonl"
    assert fer_edge("--source", astronaut_file, "--jsonl", usual).returncode == 0
    done = fer_edge("--source", astronaut_file, "--jsonl", out, closed=closed)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert out.read_text().partition('"stage_ms"')[0] == usual.read_text().partition('"stage_ms"')[0]


@pytest.mark.parametrize("words", [("models",), ("doctor",), ("--help",), ("bench", "-n", "2"), ("--version",)])
def test_every_command_bears_a_closed_standard_output(words: tuple[str, ...], tmp_path: Path) -> None:
    more = ("--warmup", "1", "--out", tmp_path / "bench.csv") if words[0] == "bench" else ()
    before = fer_edge(*words, *more).returncode
    done = fer_edge(*words, *more, closed=(1,))
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.returncode == before


def test_an_error_with_closed_standard_error_has_its_exit_code(tmp_path: Path) -> None:
    assert fer_edge("--source", tmp_path / "absent.png", closed=(2,)).returncode == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    command = [sys.executable, "-m", "fer_edge", "models"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "fer-edge: input or output: No space left on device\n"


def test_text_that_the_encoding_lacks_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    escape_unencodable(stream)
    stream.write("fröhlich 中性")
    assert stream.buffer.getvalue() == rb"fr\xf6hlich \u4e2d\u6027"


def test_control_characters_of_a_name_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("caf\udce9 \x1b[31m\u202e中性\n") == r"caf\xe9 \x1b[31m\u202e中性\n"
    job: Callable[[], None] = lambda: (_ for _ in ()).throw(UsageError("no \x1b]0;title\x07 here"))  # noqa: E731
    assert run_reporting("fer-edge", job) == 2
    assert capsys.readouterr().err == "fer-edge: no \\x1b]0;title\\x07 here\n"


def test_an_error_is_one_line_of_bounded_length(capsys: pytest.CaptureFixture[str]) -> None:
    job: Callable[[], None] = lambda: (_ for _ in ()).throw(UsageError("x " * 1_000_000))  # noqa: E731
    assert run_reporting("fer-edge", job) == 2
    assert len(capsys.readouterr().err) < 1600


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_labels_in_a_terminal_of_another_encoding_are_no_lost_results(
    encoding: str, astronaut_file: Path, umlaut_model: Path
) -> None:
    done = fer_edge("--source", astronaut_file, "--model", umlaut_model, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fröh" in done.stdout or r"fr\xf6h" in done.stdout
