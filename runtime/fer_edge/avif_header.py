"""The size of an AVIF picture: what its boxes claim, and what the AV1 data inside really decodes to.

ISO/IEC 14496-12 (boxes), 23008-12 (items), and the AV1 bitstream specification, sections 5.3 to 5.5. The claim alone is
not enough: a file of 3 kB that claims 64x64 pixels may hold an AV1 picture of 16000x16000.
"""

import struct
from collections.abc import Iterator

_SEQUENCE_HEADER = 1
_CONTAINERS = (b"meta", b"iprp", b"ipco")


def is_avif(head: bytes) -> bool:
    """True where the first bytes are those of an AVIF picture or sequence."""
    return head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16 : _u32(head, 0)])


def avif_size(data: bytes) -> tuple[int, int]:
    """The largest (width, height) in pixels of the boxes and of every AV1 sequence header in the items' data.

    Raises ValueError or struct.error for what is cut short, and for pictures put together from tiles and sequences,
    whose size stands elsewhere.
    """
    sizes: list[tuple[int, int]] = []
    for name, start, end in _boxes(data, 0, len(data)):
        if name in (b"moov", b"grid"):
            raise ValueError("sequences and tiled pictures are not read")
        if name == b"ispe":
            sizes.append((_u32(data, start + 4), _u32(data, start + 8)))
        elif name == b"iinf" and b"grid" in data[start:end]:
            raise ValueError("tiled pictures are not read")
        elif name == b"iloc":
            for begin, stop in _extents(data, start):
                sizes += _sequence_sizes(data, begin, min(stop, len(data)))
    if len(sizes) < 2:
        raise ValueError("no picture in it")
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">I", data, at)[0]) if len(data) >= at + 4 else 0


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of every box, those inside containers, too."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = min(at + size, end) if size else end
        if stop < start:
            raise ValueError("a box shorter than its head")
        yield name, start, stop
        if name in _CONTAINERS:
            yield from _boxes(data, start + (4 if name == b"meta" else 0), stop)
        at = stop


def _extents(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Begin and end in the file of each item's data, from the item location box."""
    version, sizes, more_sizes = data[at], data[at + 4], data[at + 5]
    widths = [sizes >> 4, sizes & 15, more_sizes >> 4, more_sizes & 15 if version else 0]
    if any(width not in (0, 4, 8) for width in widths):
        raise ValueError("its item locations")
    offset_width, length_width, base_width, index_width = widths
    wide = 4 if version == 2 else 2
    count, at = _number(data, at + 6, wide), at + 6 + wide
    for _ in range(count):
        at += wide
        if version:
            if _number(data, at, 2) & 15:
                raise ValueError("an item outside its data box")
            at += 2
        base, at = _number(data, at + 2, base_width), at + 2 + base_width
        extents, at = _number(data, at, 2), at + 2
        for _ in range(extents):
            begin = base + _number(data, at + index_width, offset_width)
            length = _number(data, at + index_width + offset_width, length_width)
            at += index_width + offset_width + length_width
            yield begin, begin + length if length else len(data)


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise ValueError("cut short")
    return int.from_bytes(data[at : at + width], "big")


def _sequence_sizes(data: bytes, at: int, end: int) -> Iterator[tuple[int, int]]:
    """The size in every sequence header among the OBUs (open bitstream units) from `at` to `end`."""
    while at < end:
        head = data[at]
        at += 2 if head & 4 else 1
        size = end - at
        if head & 2:
            size, at = _leb128(data, at)
        if (head >> 3 & 15) == _SEQUENCE_HEADER:
            yield _sequence_size(data[at : at + min(size, 64)])
        elif head & 0x80:
            return  # no OBUs: metadata, such as EXIF
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    raise ValueError("a number without end")


def _sequence_size(payload: bytes) -> tuple[int, int]:
    bits = _Bits(payload)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the short header of a still picture
        bits.take(5)
    else:
        if bits.take(1):
            raise ValueError("timing of a video")
        display_delay = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if display_delay and bits.take(1):
                bits.take(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(width_bits) + 1, bits.take(height_bits) + 1


class _Bits:
    """Reads numbers from the highest bit down."""

    def __init__(self, payload: bytes) -> None:
        self._value, self._left = int.from_bytes(payload, "big"), len(payload) * 8

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("cut short")
        return self._value >> self._left & ((1 << count) - 1)
