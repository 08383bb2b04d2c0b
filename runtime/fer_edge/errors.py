"""The errors a user meets: each says what was expected, what was found and what to do, and knows its exit code."""

import os
import sys
from collections.abc import Callable

from fer_edge.redaction import redacted
from fer_edge.streams import drop_stdout, ensure_standard_streams, printable

_LONGEST_LINE = 1500
INTERRUPTED = 130  # what shells report for a program ended by Ctrl-C


class FerEdgeError(Exception):
    """Base of every error that is the user's to mend. Command lines print it as one line, without a traceback."""

    exit_code = 2


class UsageError(FerEdgeError):
    """An argument, a configuration or an output location that cannot be used."""


class DataError(FerEdgeError):
    """A dataset file that does not hold what its format promises."""


class SourceError(FerEdgeError):
    """A camera, stream or file that cannot be opened, or that is lost for good."""

    exit_code = 3


class SourceAbsentError(SourceError):
    """A camera or stream that is away or silent at the moment, and may be plugged in or switched on later."""


class ModelError(FerEdgeError):
    """A model, contract or detector that is refused."""

    exit_code = 4


def last_line(said: str, otherwise: str = "no message") -> str:
    """Return the last line of what a program said, which is where most name their reason; `otherwise` for nothing."""
    return (said.strip().splitlines() or [otherwise])[-1]


def run_reporting(program: str, job: Callable[[], None]) -> int:
    """Run `job`; its exit code. A FerEdgeError becomes one line on standard error, without a traceback."""
    ensure_standard_streams()
    try:
        job()
        sys.stdout.flush()  # a full disk is told of here, not when the interpreter ends
    except FerEdgeError as error:
        return _report(program, str(error), error.exit_code)
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        _give_up_unwritten()
        place = redacted(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "input or output"
        return _report(program, f"{place}: {error.strerror or error}", UsageError.exit_code)
    except MemoryError:
        return _report(program, "out of memory. Close other programs, or use a smaller input.", UsageError.exit_code)
    except KeyboardInterrupt:
        return _report(program, "interrupted", INTERRUPTED)
    return 0


def _give_up_unwritten() -> None:
    """Drop what a full disk did not take of standard output, so that the interpreter does not fail with it again."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_stdout()


def _report(program: str, message: str, exit_code: int) -> int:
    """Print one line about what went wrong; `exit_code` again."""
    line = printable(" ".join(message[: 2 * _LONGEST_LINE].split()))
    cut = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..."
    print(f"{program}: {cut}", file=sys.stderr)
    return exit_code
