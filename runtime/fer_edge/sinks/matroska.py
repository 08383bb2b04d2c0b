"""Matroska, cut after each cluster. Format: RFC 9559, in EBML (RFC 8794)."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

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
