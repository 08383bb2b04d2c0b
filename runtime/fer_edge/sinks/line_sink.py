"""The base class of sinks that write lines to a file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TypeVar

from fer_edge.frames import Frame, FrameResult
from fer_edge.sinks.line_file import LineFile, LineFormat, LineOptions

Self = TypeVar("Self", bound="LineSink")


class LineSink:
    """Base of sinks that write lines to a file. Subclasses implement `lines`."""

    def __init__(self, path: Path, kind: str, line_format: LineFormat, options: LineOptions | None) -> None:
        self.path = path
        self.name = f"{kind} {path}"
        self._format, self._options = line_format, options or LineOptions()
        self._file: LineFile | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Results that were written but did not reach the disk."""
        return self._lost + (self._file.lost if self._file is not None else 0)

    def __enter__(self: Self) -> Self:
        """Open the file. Raises UsageError."""
        self._file = LineFile(self.path, self._format, self._options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._lost, self._file = self.lost, None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append the lines of one frame. Raises OSError when they cannot be written."""
        assert self._file is not None, "enter the sink before writing"
        self._file.write(self.lines(result))

    def lines(self, result: FrameResult) -> str:
        """Return the lines of one frame, each with its newline; an empty string where there are none."""
        raise NotImplementedError
