"""The errors a user meets: each says what was expected, what was found and what to do, and knows its exit code."""

import os
import sys
from collections.abc import Callable

from fer_edge.redaction import redacted

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


class ModelError(FerEdgeError):
    """A model, contract or detector that is refused."""

    exit_code = 4


def run_reporting(program: str, job: Callable[[], None]) -> int:
    """Run `job`; its exit code. A FerEdgeError becomes one line on standard error, without a traceback."""
    try:
        job()
    except FerEdgeError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        drop_stdout()
    except OSError as error:
        place = redacted(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "input or output"
        print(f"{program}: {place}: {error.strerror or error}", file=sys.stderr)
        return UsageError.exit_code
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def drop_stdout() -> None:
    """Send standard output nowhere, after a BrokenPipeError: whoever read it has gone, as `head` does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
