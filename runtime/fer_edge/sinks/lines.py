"""A text file of whole lines, readable while it grows."""

import os
from contextlib import suppress
from pathlib import Path

from fer_edge.errors import UsageError


class LineFile:
    """Written line by line under its final name, replacing what was there.

    Every line goes to the system at once. When one cannot be written whole (disk full), its part is taken back, so the
    file always ends with a whole line. Raises UsageError where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a buffer would tear lines at its own size, and keep its rest for another try on closing.
            self._stream = open(path, "wb", buffering=0)  # noqa: SIM115 (it lives as long as this object)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {path}: {reason}. Choose a file you may write to.") from None
        self._whole_bytes = 0

    def write(self, line: str) -> None:
        """Append `line`, which ends with its newline. Raises OSError when it cannot be written whole."""
        data = line.encode("utf-8", errors="backslashreplace")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError:
            with suppress(OSError):  # a pipe or a device has nothing to take back
                os.ftruncate(self._stream.fileno(), self._whole_bytes)
            raise
        self._whole_bytes += len(data)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
