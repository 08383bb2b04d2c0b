"""Video containers that play wherever they end: MP4, Matroska and AVI as FFMPEG writes them to a pipe.

To a pipe FFMPEG writes MP4 in fragments, Matroska in clusters of a second at most, and AVI frame by frame. A container
cuts its stream into pieces after which a file may end, and adds what FFMPEG leaves out because it cannot go back in a
pipe: the number of frames, the duration and the index. Each is a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4")
# FAT holds no larger file.
MOST_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Piece:
    """Part of a stream after which a file may end, and the number of frames in it."""

    data: bytes
    frames: int


class Container(Protocol):
    """Cuts the encoder's stream into pieces. Sizes are in bytes; positions count from the start of the file."""

    codec: str
    """FourCC to ask the encoder for."""
    muxer: str
    """Suffix by which FFMPEG chooses the container."""
    max_bytes: int
    """Size limit of a file of this format."""

    def split(self, data: bytes) -> Iterator[Piece]:
        """Yield the pieces that `data`, the next bytes of the stream, completes."""
        ...

    def stored(self, piece: Piece, position: int) -> None:
        """Record that `piece` was written at `position`."""
        ...

    def head(self, *, size: int | None = None) -> bytes:
        """Return the header for what was stored until now; `size` is that of the whole file, once it is finished.

        It is as long as the first piece, or empty where nothing has to be changed.
        """
        ...

    def index(self, position: int) -> bytes:
        """Return the index, which is to be written at `position`, behind the last piece."""
        ...
