"""AVI, cut after each frame. Format: Microsoft's "AVI RIFF File Reference"."""

import struct
from array import array
from collections.abc import Iterator

import numpy as np

from fer_edge.sinks.containers import Piece


class Avi:
    """AVI with Motion JPEG: every frame is a key frame."""

    # Its sizes have 32 bits, which many programs read as signed numbers.
    codec, muxer, max_bytes = "MJPG", ".avi", 2_000_000_000

    _FRAME = b"00dc"
    _HAS_INDEX = 0x10

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._head = b""
        self._entries = array("I")

    def split(self, data: bytes) -> Iterator[Piece]:
        """Yield the header and each chunk."""
        self._waiting += data
        if not self._head:
            list_at = self._waiting.find(b"movi")
            if list_at < 0:
                return
            self._head = bytes(self._waiting[: list_at + 4])
            del self._waiting[: len(self._head)]
            yield Piece(self.head(), 0)
        while len(self._waiting) >= 8:
            (size,) = struct.unpack_from("<I", self._waiting, 4)
            size = 8 + size + size % 2
            if len(self._waiting) < size:
                return
            chunk = bytes(self._waiting[:size])
            del self._waiting[:size]
            yield Piece(chunk, int(chunk.startswith(self._FRAME)))

    def stored(self, piece: Piece, position: int) -> None:
        """Record where a frame is, counted from the word `movi`."""
        if piece.frames:
            (size,) = struct.unpack_from("<I", piece.data, 4)
            self._entries.extend((position - len(self._head) + 4, size))

    def head(self, *, size: int | None = None) -> bytes:
        """Return the header with the number of frames; once the file is finished, with the list sizes as well."""
        head, frames = bytearray(self._head), len(self._entries) // 2
        main, stream = head.index(b"avih") + 8, head.index(b"strh") + 8
        struct.pack_into("<I", head, main + 16, frames)
        struct.pack_into("<I", head, stream + 32, frames)
        if size is not None:
            (flags,) = struct.unpack_from("<I", head, main + 12)
            struct.pack_into("<I", head, main + 12, flags | self._HAS_INDEX)
            struct.pack_into("<I", head, 4, size - 8)
            index_bytes = 8 + 16 * frames
            struct.pack_into("<I", head, len(head) - 8, size - index_bytes - len(head) + 4)
        return bytes(head)

    def index(self, position: int) -> bytes:
        """Return the index of all frames."""
        rows = np.empty((len(self._entries) // 2, 4), "<u4")
        rows[:, 0], rows[:, 1] = int.from_bytes(self._FRAME, "little"), self._HAS_INDEX
        rows[:, 2:] = np.frombuffer(self._entries, np.uint32).reshape(-1, 2)
        return b"idx1" + struct.pack("<I", rows.nbytes) + rows.tobytes()
