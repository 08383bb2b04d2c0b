"""Writing lines to a pipe or a device, which takes as much as it has room for."""

import errno
import os
import select
import sys
from pathlib import Path

from fer_edge.arguments import STDOUT
from fer_edge.streams import drop_stdout

# How long to wait for the reader of a full pipe.
_PATIENCE_S = 2.0


class PipeOutput:
    """A pipe or device, opened without waiting for its reader. A line that was sent in part is completed by the next.

    Whoever opens it closes `descriptor`. Raises OSError where it cannot be opened, as a named pipe without a reader.
    """

    def __init__(self, path: Path) -> None:
        self._is_stdout = path == STDOUT
        self.descriptor = _opened(path)
        self._rest = b""

    @property
    def owes_a_rest(self) -> bool:
        """Whether part of a line was sent, so that it must be this reader who gets the rest."""
        return bool(self._rest)

    def send(self, data: bytes) -> None:
        """Write the rest of the last line, then `data`. Raises OSError where nobody reads them."""
        left = memoryview(self._rest + data)
        is_begun = self.owes_a_rest
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
                is_begun = True
            except BrokenPipeError:
                if not self._is_stdout:
                    raise
                drop_stdout()  # whoever read it has gone, as `head` does; the other sinks have work to do
                os.dup2(sys.stdout.fileno(), self.descriptor)
                return
            except BlockingIOError:
                if not select.select([], [self.descriptor], [], _PATIENCE_S)[1]:
                    self._rest = bytes(left) if is_begun else b""
                    raise OSError(errno.EAGAIN, "nobody reads from it") from None
        self._rest = b""


def _opened(path: Path) -> int:
    if path == STDOUT:
        return os.dup(sys.stdout.fileno())
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads from it; start its reader first") from None
        raise
