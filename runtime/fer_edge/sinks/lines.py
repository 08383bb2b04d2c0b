"""Text files of whole lines, readable while they grow, and the base of the sinks that write them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Rotation:
    """When to begin a new file, and how many older ones to keep: FILE.1 is the newest of them."""

    max_bytes: int
    keep: int = 5


class LineFile:
    """Written line by line under its final name.

    Every line goes to the system at once. When one cannot be written whole (disk full), its part is taken back, so the
    file always ends with a whole line. Without `rotation` an existing file is replaced; with it, it is gone on with
    (a half line that a power cut left is taken back), and a new one begins, with `head`, before it grows too large, and
    where the old one has another head. Raises UsageError where the file cannot be made.
    """

    def __init__(self, path: Path, head: str = "", rotation: Rotation | None = None) -> None:
        self._path, self._head, self._rotation = path, head.encode(), rotation
        self._refused = b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open(replace=rotation is None)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {path}: {reason}. Choose a file you may write to.") from None

    def write(self, lines: str) -> None:
        """Append `lines`, which end with their newline. Raises OSError when they cannot be written whole.

        No lines after some that were refused try those again: writing nothing would succeed on a full disk.
        """
        data = lines.encode("utf-8", errors="backslashreplace") or self._refused
        self._refused = data
        full = self._rotation is not None and self._whole_bytes + len(data) > self._rotation.max_bytes
        if full and self._whole_bytes > len(self._head):
            self._rotate()
        self._append(data)
        self._refused = b""

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _open(self, *, replace: bool) -> None:
        # Unbuffered: a buffer would tear lines at its own size, and keep its rest for another try on closing.
        mode = "wb" if replace or not self._path.exists() else "r+b"
        self._stream = open(self._path, mode, buffering=0)  # noqa: SIM115 (it lives as long as this object)
        self._whole_bytes = self._take_up() if mode == "r+b" else 0
        if self._whole_bytes and not self._has_head():
            self._rotate()
        elif self._whole_bytes == 0 and self._head:
            with suppress(OSError):  # a full disk is told of by the first line, which then brings its head
                self._append(b"")

    def _take_up(self) -> int:
        """Bytes of whole lines in an older file, what follows them being cut off; the next line goes behind them."""
        end = self._stream.seek(0, os.SEEK_END)
        while end > 0:
            start = max(end - _BLOCK, 0)
            self._stream.seek(start)
            newline = self._stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        self._stream.truncate(end)
        return self._stream.seek(end)

    def _has_head(self) -> bool:
        """Whether an older file begins like this one; lines of another model must not stand below its columns."""
        self._stream.seek(0)
        found: bytes = self._stream.read(len(self._head))
        self._stream.seek(self._whole_bytes)
        return found == self._head

    def _append(self, data: bytes) -> None:
        data = data if self._whole_bytes else self._head + data
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError:
            with suppress(OSError):  # a pipe or a device has nothing to take back
                self._stream.truncate(self._whole_bytes)
                self._stream.seek(self._whole_bytes)
            raise
        self._whole_bytes += len(data)

    def _rotate(self) -> None:
        """FILE becomes FILE.1, FILE.1 becomes FILE.2, ...; what is older than `keep` files goes.

        Files move up to the first free name only. Where the new FILE cannot be made, its own name stays free, so that
        another try moves nothing; and the oldest goes last, when there is a new one.
        """
        assert self._rotation is not None
        names = [self._path.name, *(f"{self._path.name}.{number}" for number in range(1, self._rotation.keep + 2))]
        chain = [self._path.with_name(name) for name in names]
        moving = list(takewhile(Path.exists, chain[:-1]))
        for source, target in reversed(list(zip(moving, chain[1:], strict=False))):
            source.replace(target)
        before = self._stream
        self._open(replace=True)
        before.close()
        chain[-1].unlink(missing_ok=True)


Self = TypeVar("Self", bound="LineSink")


class LineSink:
    """Base of sinks that write lines into a file: `head` is its first line, `lines` says what a frame adds."""

    head = ""

    def __init__(self, path: Path, kind: str, rotation: Rotation | None) -> None:
        self.path = path
        self.name = f"{kind} {path}"
        self._rotation = rotation
        self._file: LineFile | None = None

    def __enter__(self: Self) -> Self:
        """Open the file. Raises UsageError."""
        self._file = LineFile(self.path, self.head, self._rotation)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append what the frame adds. Raises OSError when it cannot be written."""
        assert self._file is not None, "enter the sink before writing"
        self._file.write(self.lines(result))

    def lines(self, result: FrameResult) -> str:
        """Whole lines, each with its newline; none where the frame adds nothing."""
        raise NotImplementedError
