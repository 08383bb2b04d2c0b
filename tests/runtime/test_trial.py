"""A model is tried in a child process: what would end the program ends the child."""

import os
import signal
import sys
from pathlib import Path

import pytest

from fer_edge.classifier import Classifier
from fer_edge.engines import litert
from fer_edge.engines.trial import signal_that_ends
from fer_edge.errors import ModelError

from tests.fuzz.models import tiny_tflite

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a process can be copied on Linux alone")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGKILL])
def test_the_signal_that_ends_a_job_is_told(number: signal.Signals) -> None:
    assert signal_that_ends(lambda: os.kill(os.getpid(), number)) == number


def test_a_job_that_comes_to_its_end_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    def chatter() -> None:
        os.write(1, b"out")
        os.write(2, b"err")
        raise ValueError

    assert signal_that_ends(chatter) is None
    assert signal_that_ends(lambda: sys.exit(7)) is None
    assert capfd.readouterr() == ("", "")


def test_a_job_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_edge.engines.trial._PATIENCE_S", 1)
    assert signal_that_ends(signal.pause) == signal.SIGALRM


def test_the_child_leaves_files_and_signal_handlers_of_its_parent_alone(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as out:
        out.write("once")  # still in the buffer, which the child has a copy of
        before = signal.getsignal(signal.SIGTERM)
        assert signal_that_ends(lambda: None) is None
        assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "out").read_text() == "once"


def test_where_no_child_can_tell_the_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as a supervisor may have set it
    try:
        assert signal_that_ends(lambda: None) is None
    finally:
        signal.signal(signal.SIGCHLD, before)

    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    assert signal_that_ends(lambda: None) is None


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
