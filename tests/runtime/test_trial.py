"""A model is tried in a child process: what would end the program ends the child."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from fer_edge.classifier import Classifier
from fer_edge.engines import litert
from fer_edge.engines.trial import Failure, failure_of
from fer_edge.errors import ModelError

from tests.fuzz.models import tiny_tflite

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process can be copied on Linux alone")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGKILL])
def test_the_failure_of_a_job_is_told(number: signal.Signals) -> None:
    failure = failure_of(lambda: os.kill(os.getpid(), number))
    assert failure is not None and failure.ended and failure.text


def test_a_job_that_comes_to_its_end_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    def chatter() -> None:
        os.write(1, b"out")
        os.write(2, b"err")

    assert failure_of(chatter) is None
    assert capfd.readouterr() == ("", "")


def test_what_a_job_raises_is_told() -> None:
    def raises() -> None:
        raise ValueError("no such \ud800 tensor\nin the graph")

    assert failure_of(raises) == Failure("no such ? tensor in the graph", ended=False)
    assert failure_of(lambda: sys.exit(7)) == Failure("7", ended=False)


def test_a_job_that_takes_all_memory_is_told() -> None:
    assert failure_of(lambda: bytearray(100 << 30)) == Failure("MemoryError", ended=False)


def test_a_job_that_takes_all_processor_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.engines.trial._MOST_CPU_S", 1)

    def spin() -> None:
        while True:
            pass

    failure = failure_of(spin)
    assert failure is not None and failure.ended and "processor time" in failure.text


def test_a_job_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.engines.trial._PATIENCE_S", 1)
    failure = failure_of(signal.pause)
    assert failure is not None and failure.ended and "no result within" in failure.text


def test_the_child_leaves_files_and_signal_handlers_of_its_parent_alone(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as out:
        out.write("once")  # still in the buffer, which the child has a copy of
        before = signal.getsignal(signal.SIGTERM)
        assert failure_of(lambda: None) is None
        assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "out").read_text() == "once"


def test_where_no_child_can_tell_the_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a supervisor may have set it
    try:
        assert failure_of(lambda: None) is None
    finally:
        signal.signal(signal.SIGCHLD, before)

    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    assert failure_of(lambda: None) is None


def test_a_model_that_ends_its_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake interpreter: which models end a real one changes from version to version."""
    real, parent = litert._interpreter(), os.getpid()

    class Deadly(real[2]):  # type: ignore[misc,name-defined]
        def invoke(self) -> None:
            assert os.getpid() != parent, "it must not get as far as this"
            os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(litert, "_interpreter", lambda: (*real[:2], Deadly))
    (tmp_path / "deadly.tflite").write_bytes(tiny_tflite())
    with pytest.raises(ModelError, match=r"deadly\.tflite: .* ends with it \(Segmentation fault\)"):
        Classifier(tmp_path / "deadly.tflite")


def test_a_root_without_proc_does_without_the_limit_of_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("fer_edge.engines.trial._SIZES", tmp_path / "statm")
    assert failure_of(lambda: None) is None


class DiesElsewhere:
    """As an engine does whose threads another process has: it ends the process that collects it, but not its own."""

    def __init__(self) -> None:
        self.itself, self.home = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGSEGV)


def test_what_this_process_no_longer_uses_is_not_collected_in_the_child() -> None:
    """Or a model would be refused for an engine of a model before it, as after a reload."""
    DiesElsewhere()
    assert failure_of(lambda: [[number] for number in range(100_000)]) is None
    gc.collect()
