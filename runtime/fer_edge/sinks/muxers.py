"""The three containers: where each may end, and what it lacks to be whole.

Matroska is cut after each cluster (RFC 9559, in EBML, RFC 8794), MP4 after each fragment (ISO/IEC 14496-12), AVI after
each frame (OpenDML 1.02).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fer_edge.sinks.containers import MOST_BYTES, Piece

# Where an element of unknown size ends.
_ANY_SIZE = 1 << 62
_SEGMENT, _SEEK_HEAD, _VOID = b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\xec"
_INFO, _CLUSTER, _CUES = b"\x15\x49\xa9\x66", b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b"
_CRC, _DURATION, _TIMESTAMP = b"\xbf", b"\x44\x89", b"\xe7"
_SIMPLE_BLOCK = b"\xa3"
_BLOCKS = (_SIMPLE_BLOCK, b"\xa0")
# A flag in the byte behind track number and time.
_KEY_FRAME = 0x80
_UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
# Interval of the index.
_CUE_MS = 2000


class Matroska:
    """Matroska. FFMPEG starts a cluster every second, and every 32 kB in a pipe."""

    codec, muxer, max_bytes = "mp4v", ".mkv", MOST_BYTES

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._waiting = bytearray()
        self._start = self._info = b""
        self._others: list[tuple[bytes, bytes]] = []
        self._frames = 0
        self._cues = array("Q")
        self._cues_at = 0

    def split(self, data: bytes) -> Iterator[Piece]:
        """Yield the header, as soon as a frame follows it, and each cluster."""
        self._waiting += data
        if not self._start:
            if not self._read_head():
                return
            yield Piece(self.head(), 0)
        while (found := _element_at(self._waiting, 0)) is not None and found.end <= len(self._waiting):
            cluster = bytes(self._waiting[: found.end])
            del self._waiting[: found.end]
            if found.name == _CLUSTER:
                yield Piece(cluster, sum(child.name in _BLOCKS for child in _children(cluster, found.body, found.end)))

    def _read_head(self) -> bool:
        """Read what comes before the first cluster; false where that is incomplete."""
        data = self._waiting
        ebml = _element_at(data, 0)
        segment = None if ebml is None else _element_at(data, ebml.end)
        if ebml is None or segment is None:
            return False
        children = list(_children(data, segment.body, len(data)))
        clusters = [child.at for child in children if child.name == _CLUSTER]
        if not clusters:
            return False
        for child in (child for child in children if child.at < clusters[0]):
            if child.name == _INFO:
                fields = [one for one in _children(data, child.body, child.end) if one.name not in (_CRC, _DURATION)]
                self._info = b"".join(bytes(data[one.at : one.end]) for one in fields)
            elif child.name not in (_SEEK_HEAD, _VOID):
                self._others.append((child.name, bytes(data[child.at : child.end])))
        self._start = bytes(data[: ebml.end]) + _SEGMENT
        del data[: clusters[0]]
        return True

    def stored(self, piece: Piece, position: int) -> None:
        """Record where a cluster is that starts with a key frame, every two seconds: players seek to these."""
        self._frames += piece.frames
        if not piece.frames:
            return
        cluster = _element_at(piece.data, 0)
        assert cluster is not None
        children = list(_children(piece.data, cluster.body, cluster.end))
        first = next(one for one in children if one.name in _BLOCKS)
        times = [one for one in children if one.name == _TIMESTAMP]
        if times and first.name == _SIMPLE_BLOCK and piece.data[first.body + 3] & _KEY_FRAME:
            time_ms = int.from_bytes(piece.data[times[0].body : times[0].end], "big")
            if not self._cues or time_ms - self._cues[-2] >= _CUE_MS:
                self._cues.extend((time_ms, position - self._body_at))

    @property
    def _body_at(self) -> int:
        """The position of the segment's contents, from which positions in the segment count."""
        return len(self._start) + len(_UNKNOWN_SIZE)

    def head(self, *, size: int | None = None) -> bytes:
        """Return the header with the duration; once the file is finished, with its size and index position as well."""
        duration_ms = struct.pack(">d", 1000 * self._frames / self._fps)
        info = (_INFO, _element(_INFO, self._info + _element(_DURATION, duration_ms)))
        children = [info, *self._others]
        empty = _seek(_CUES, 0)
        at = len(_element(_SEEK_HEAD, empty * (len(children) + 1)))
        seeks = []
        for name, child in children:
            seeks.append(_seek(name, at))
            at += len(child)
        seeks.append(_element(_VOID, bytes(len(empty) - 9)) if size is None else _seek(_CUES, self._cues_at))
        length = _UNKNOWN_SIZE if size is None else _size(size - self._body_at)
        return self._start + length + _element(_SEEK_HEAD, b"".join(seeks)) + b"".join(child for _, child in children)

    def index(self, position: int) -> bytes:
        """Return the index of the clusters recorded."""
        self._cues_at = position - self._body_at
        points = zip(self._cues[::2], self._cues[1::2], strict=True)
        return _element(_CUES, b"".join(_cue(time_ms, at) for time_ms, at in points))


@dataclass(frozen=True)
class _Element:
    """An EBML element: its name, and the positions of its start, its contents and its end."""

    name: bytes
    at: int
    body: int
    end: int


def _element_at(data: bytes | bytearray, at: int) -> _Element | None:
    """Return the element at `at`; None where its name or size is incomplete. One of unknown size ends at _ANY_SIZE."""
    name_end = at + _width(data, at)
    body = name_end + _width(data, name_end)
    if at >= len(data) or name_end >= len(data) or body > len(data):
        return None
    size = int.from_bytes(data[name_end:body], "big") & ((1 << 7 * (body - name_end)) - 1)
    unknown = size == (1 << 7 * (body - name_end)) - 1
    return _Element(bytes(data[at:name_end]), at, body, _ANY_SIZE if unknown else body + size)


def _width(data: bytes | bytearray, at: int) -> int:
    """Return the length of the number at `at`, which its leading zero bits encode."""
    return 9 - data[at].bit_length() if at < len(data) else 1


def _children(data: bytes | bytearray, at: int, end: int) -> Iterator[_Element]:
    """Yield the elements from `at` to `end`; the last one may be incomplete."""
    while at < end and (found := _element_at(data, at)) is not None:
        yield found
        at = found.end


def _size(value: int) -> bytes:
    return (1 << 56 | value).to_bytes(8, "big")


def _element(name: bytes, body: bytes) -> bytes:
    return name + _size(len(body)) + body


def _number(name: bytes, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _seek(name: bytes, at: int) -> bytes:
    return _element(b"\x4d\xbb", _element(b"\x53\xab", name) + _number(b"\x53\xac", at))


def _cue(time_ms: int, at: int) -> bytes:
    return _element(b"\xbb", _number(b"\xb3", time_ms) + _element(b"\xb7", _number(b"\xf7", 1) + _number(b"\xf1", at)))


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
