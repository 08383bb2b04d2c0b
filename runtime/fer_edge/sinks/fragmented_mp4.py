"""Fragmented MP4, cut after each fragment. Format: ISO/IEC 14496-12."""

from collections.abc import Iterator

from fer_edge.sinks.containers import MOST_BYTES, Piece


class FragmentedMp4:
    """A fragment, `moof` and `mdat`, holds twelve frames: the key frame interval of OpenCV's encoder.

    OpenCV passes no options to a muxer, so fragments come from FFMPEG's Smooth Streaming muxer, which OpenCV selects by
    the suffix. Only the brand in the header is its own, and is replaced for players that check it.
    """

    codec, muxer, max_bytes = "mp4v", ".ismv", MOST_BYTES

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._whole = b""
        self._frames = 0

    def split(self, data: bytes) -> Iterator[Piece]:
        """Yield the header, each fragment, and the muxer's index at the end."""
        self._waiting += data
        while (size := _box_size(self._waiting)) is not None and size <= len(self._waiting):
            box, kind = bytes(self._waiting[:size]), bytes(self._waiting[4:8])
            del self._waiting[:size]
            if kind == b"ftyp":
                box = box.replace(b"isml", b"iso5").replace(b"piff", b"mp41")
            self._whole += box
            self._frames += _samples(box) if kind == b"moof" else 0
            if kind in (b"moov", b"mdat", b"mfra"):
                yield Piece(self._whole, self._frames)
                self._whole, self._frames = b"", 0

    def stored(self, piece: Piece, position: int) -> None:
        """Do nothing: the muxer keeps its own index."""

    def head(self, *, size: int | None = None) -> bytes:
        """Return nothing: the header does not depend on the frames."""
        return b""

    def index(self, position: int) -> bytes:
        """Return nothing: the muxer writes its own index."""
        return b""


def _box_size(data: bytes | bytearray, at: int = 0) -> int | None:
    """Return the size of the box at `at`; None where its header is incomplete."""
    if len(data) < at + 16:
        return None
    size = int.from_bytes(data[at : at + 4], "big")
    return int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else max(size, 8)


def _samples(moof: bytes) -> int:
    """Count the frames of a fragment, from its `trun` boxes."""
    found, at = 0, 8
    while at + 8 <= len(moof):
        kind = moof[at + 4 : at + 8]
        if kind == b"trun":
            found += int.from_bytes(moof[at + 12 : at + 16], "big")
        at += 8 if kind == b"traf" else max(int.from_bytes(moof[at : at + 4], "big"), 8)
    return found
