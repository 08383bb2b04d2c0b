"""Trying a model in a child process first: what would end, stop or fill this program ends the child."""

import faulthandler
import gc
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

# Of processor time, which does not depend on what else runs; and of any, for a child that sleeps.
_MOST_CPU_S, _PATIENCE_S = 20, 60
# On top of what this process has: weights of half a gigabyte and twice that again, laid out for the processor.
_MOST_BYTES = 4 << 30
_MESSAGE_BYTES = 2000
# Of this process: its size in pages is the first number.
_SIZES = Path("/proc/self/statm")
_REASONS: dict[int, str] = {
    signal.SIGALRM: f"no result within {_PATIENCE_S} s",
    signal.SIGXCPU: f"no result within {_MOST_CPU_S} s of processor time",
    signal.SIGKILL: "killed, perhaps for want of memory",
    signal.SIGILL: "illegal instruction: the package is for another processor",
}


@dataclass(frozen=True)
class Failure:
    """Failure of a job: the text of the exception that it raised, or, where `ended`, what ended its process."""

    text: str
    ended: bool


def failure_of(job: Callable[[], object]) -> Failure | None:
    """Run `job` in a child process and tell how it failed, so that it is not run here; None where it did not.

    None as well where no child could tell: there is no room for one, nobody is told of its end, or this is not Linux,
    where alone a process can be copied.
    """
    if sys.platform != "linux":
        return None
    reading, writing = os.pipe()
    with open(reading, "rb") as told:
        child = _forked()
        if child == 0:
            _run_and_exit(job, writing)
        os.close(writing)
        if child is None:
            return None
        try:
            message = told.read()
            _, status = os.waitpid(child, 0)
        except ChildProcessError:  # who started this program has it ignore the end of children, so nobody knows
            return None
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Failure(_REASONS.get(number) or signal.strsignal(number) or f"signal {number}", ended=True)
    return Failure(message.decode(errors="replace"), ended=False) if message else None


def _forked() -> int | None:
    """The child's number in this process and 0 in the child; None where there is no room for another process."""
    with warnings.catch_warnings():
        # The child runs the engine's own threads and no others, so that this process has some does no harm.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX's, which the workbench's converter loads
        try:
            return os.fork()
        except OSError:
            return None


def _run_and_exit(job: Callable[[], object], writing: int) -> NoReturn:
    """The child: no word to the terminal, no core file, no more time and memory than it should need."""
    # An engine that this process no longer uses waits for its threads when it is collected; the child has none of them.
    gc.disable()
    try:
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()
        signal.alarm(_PATIENCE_S)
        _limit()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        job()
    except BaseException as error:
        text = " ".join(str(error).split()) or type(error).__name__
        os.write(writing, text.encode(errors="replace")[:_MESSAGE_BYTES])
    finally:
        os._exit(0)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S + 1))
    try:
        pages = int(_SIZES.read_text().split()[0])
    except OSError:  # no /proc, as in a chroot: the limits of time and of the machine must do
        return
    most = pages * resource.getpagesize() + _MOST_BYTES
    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    if allowed == resource.RLIM_INFINITY or most < allowed:
        resource.setrlimit(resource.RLIMIT_AS, (most, allowed))
