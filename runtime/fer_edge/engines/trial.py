"""Trying a model in a child process first: what ends the child would have ended the program."""

import faulthandler
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable

_PATIENCE_S = 60


def signal_that_ends(job: Callable[[], object]) -> signal.Signals | None:
    """Run `job` in a child process; the signal that ended it, such as SIGSEGV or, after a minute, SIGALRM.

    None where it came to its end, whatever it raised, and where no child process could tell: there is no room for one,
    nobody is told of its end, or this is not Linux, where alone a process can be copied.
    """
    if sys.platform != "linux":
        return None
    with warnings.catch_warnings():
        # The child runs the engine's own threads and no others, so that this process has some does no harm.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX's, which the workbench's converter loads
        try:
            child = os.fork()
        except OSError:  # no room for another process
            return None
    if child == 0:
        _run_and_exit(job)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # who started this program has it ignore the end of children, so nobody knows
        return None
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return signal.Signals(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None


def _run_and_exit(job: Callable[[], object]) -> None:
    """The child: no word to the terminal, no core file, no more time than it should need."""
    try:
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        faulthandler.disable()
        signal.alarm(_PATIENCE_S)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        job()
    finally:
        os._exit(0)
