"""Kind and size of a picture from its first bytes, before anything is decoded.

A file of 35 bytes may claim 900 million pixels, and decoders believe it. So every format that OpenCV reads is
understood here, as far as it says how much memory it will take; what is not understood is refused.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.avif_header import avif_size, is_avif

# Bytes that suffice for `kind_of_picture`.
SNIFF_BYTES = 64

_TEXT_HEADER_BYTES = 1 << 16
# JPEG's markers (ITU-T T.81, table B.1). Between the first and the last frame header stand some that are none.
_FIRST_FRAME, _LAST_FRAME, _NO_FRAMES = 0xC0, 0xCF, (0xC4, 0xC8, 0xCC)
_END_OF_IMAGE, _SCAN, _TEMPORARY = 0xD9, 0xDA, 0x01
_FEW_SCANS = 20
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_HDR_SIZE = re.compile(rb"[-+][XY]\s*\+?(\d+)\s*[-+][XY]\s*\+?(\d+)")
_PNM_TOKEN = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])*([^\s#]+)")


class PictureHeaderError(ValueError):
    """The header is cut short, contradicts its format or has something that no picture needs."""


@dataclass(frozen=True)
class PictureHeader:
    """Format and size in pixels, the largest the file claims anywhere.

    `passes` counts how often a decoder goes over the pixels: a progressive JPEG may ask for thousands of scans.
    """

    kind: str
    width_px: int
    height_px: int
    passes: int = 1

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width_px * self.height_px


@dataclass(frozen=True)
class PictureLimit:
    """The largest picture that is decoded, in million pixels, and the setting that raises the limit, if there is one.

    At the default, decoding takes 150 MB (JPEG, PNG, BMP, TIFF, WebP, PNM) to 280 MB (TIFF of 16 bits, progressive JPEG
    of four colours), the picture included.
    """

    megapixels: float = 25.0
    setting: str = ""

    @property
    def bytes(self) -> int:
        """The largest file: no camera writes more than 4 bytes a pixel."""
        return int(self.megapixels * 4e6)

    @property
    def remedy(self) -> str:
        """Remedy for a picture that is too large."""
        if not self.setting:
            return "Scale it down."
        return f"Scale it down, or raise {self.setting} ({self.megapixels:g}) where there is memory for it."


DEFAULT_LIMIT = PictureLimit()


def kind_of_picture(head: bytes) -> str | None:
    """The format of a picture by its first SNIFF_BYTES bytes, such as "JPEG"; None for anything else."""
    for kind, (belongs, _) in _FORMATS.items():
        if belongs(head):
            return kind
    return None


def is_animated_gif(data: bytes) -> bool:
    """True for a GIF of more than one picture, which is a small video."""
    try:
        return kind_of_picture(data) == "GIF" and len(_gif_areas(data)) > 2
    except (struct.error, IndexError, OverflowError):
        return False


def picture_header(data: bytes) -> PictureHeader:
    """The header of a whole picture file. Raises PictureHeaderError."""
    kind = kind_of_picture(data)
    if kind is None:
        raise PictureHeaderError("not a picture of a known format")
    try:
        width, height, *passes = _FORMATS[kind][1](data)
    except (struct.error, IndexError, OverflowError, ValueError) as error:
        reason = str(error) if isinstance(error, PictureHeaderError) else "cut short or damaged"
        raise PictureHeaderError(f"{kind}: {reason}") from None
    if width <= 0 or height <= 0:
        raise PictureHeaderError(f"{kind}: it claims {width}x{height} pixels")
    return PictureHeader(kind, width, height, *passes)


def _jpeg(data: bytes) -> tuple[int, ...]:
    width = height = scans = 0
    # More than these can only be counted by walking over the whole file.
    scans_at_most = data.count(b"\xff\xda")
    at = 2
    while (at := _after_marker(data, at)) > 0:
        marker = data[at - 1]
        if marker == _END_OF_IMAGE:
            break
        if marker == _TEMPORARY:
            continue
        if marker == _SCAN:
            scans += 1
            if scans_at_most <= _FEW_SCANS:
                return width, height, scans_at_most
        elif _FIRST_FRAME <= marker <= _LAST_FRAME and marker not in _NO_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
        at += max(struct.unpack_from(">H", data, at)[0], 2)
    return width, height, max(scans, 1)


def _after_marker(data: bytes, at: int) -> int:
    """The position behind the next marker from `at` on, 0 where there is none. A decoder, too, skips to the next."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        code = data[at + 1]
        if code == 0xFF:
            at += 1
        elif code == 0 or 0xD0 <= code <= 0xD7:  # a stuffed byte or a restart marker
            at += 2
        else:
            return at + 2
    return 0


def _png(data: bytes) -> tuple[int, ...]:
    if data[12:16] != b"IHDR":
        raise PictureHeaderError("no IHDR chunk")
    sizes = [struct.unpack_from(">II", data, 16)]
    at = 8
    # OpenCV makes room for a chunk before it reads it, so every chunk has to be there.
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"fcTL":  # a picture of an animation
            sizes.append(struct.unpack_from(">II", data, at + 12))
        at += length + 12
        if name == b"IEND":
            break
    if at > len(data):
        raise PictureHeaderError("cut short")
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _gif(data: bytes) -> tuple[int, ...]:
    widths, heights = zip(*_gif_areas(data), strict=True)
    return max(widths), max(heights)


def _gif_areas(data: bytes) -> list[tuple[int, int]]:
    """The canvas, then the right and lower edge of the first two pictures on it."""
    areas = [struct.unpack_from("<HH", data, 6)]
    at = 13 + _gif_colours(data[10])
    while len(areas) < 3 and at < len(data):
        if data[at] == 0x2C:
            left, top, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            areas.append((left + width, top + height))
            at += 11 + _gif_colours(flags)
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return [(int(width), int(height)) for width, height in areas]


def _gif_colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp(data: bytes) -> tuple[int, ...]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _webp(data: bytes) -> tuple[int, ...]:
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = data[24:27], data[27:30]
        if len(height) < 3:
            raise PictureHeaderError("cut short")
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width_px, height_px = struct.unpack_from("<HH", data, 26)
        return width_px & 0x3FFF, height_px & 0x3FFF
    raise PictureHeaderError("its first chunk is none of VP8, VP8L and VP8X")


def _tiff(data: bytes) -> tuple[int, ...]:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (at,) = struct.unpack_from(f"{order}Q" if big else f"{order}I", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, at)
    at, step = at + (8 if big else 2), 20 if big else 12
    # Width and length of the picture, and of its tiles.
    found: dict[int, int] = {}
    for entry in range(at, at + step * min(count, 0xFFFF), step):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in (256, 257, 322, 323):
            letter = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if letter is None:
                raise PictureHeaderError(f"tag {tag} is no whole number")
            (value,) = struct.unpack_from(f"{order}{letter}", data, entry + (12 if big else 8))
            found[tag] = max(found.get(tag, 0), value)
    if 256 not in found or 257 not in found:
        raise PictureHeaderError("no width and height")
    # A picture that is smaller than its tile is decoded as one tile; a decoder rounds up to whole tiles.
    return max(found[256], found.get(322, 0)), max(found[257], found.get(323, 0))


def _pnm(data: bytes) -> tuple[int, ...]:
    if data[:2] == b"P7":
        fields = dict(re.findall(rb"(?m)^\s*(WIDTH|HEIGHT)\s+(\d+)", data[:_TEXT_HEADER_BYTES]))
        return int(fields.get(b"WIDTH", 0)), int(fields.get(b"HEIGHT", 0))
    sizes, at = [], 2
    for _ in range(2):
        token = _PNM_TOKEN.match(data, at, _TEXT_HEADER_BYTES)
        if token is None or not token[1].isdigit() or len(token[1]) > 9:
            raise PictureHeaderError("no width and height")
        sizes.append(int(token[1]))
        at = token.end()
    return sizes[0], sizes[1]


def _hdr(data: bytes) -> tuple[int, ...]:
    # A comment may hold another size than the one that counts: the largest is what has to be feared.
    sizes = [(int(a[:9]), int(b[:9])) for a, b in _HDR_SIZE.findall(data[:_TEXT_HEADER_BYTES])]
    if not sizes:
        raise PictureHeaderError("no size")
    return max(max(size) for size in sizes), max(min(size) for size in sizes)


def _sun_raster(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(">II", data, 4)


def _jpeg_2000(data: bytes) -> tuple[int, ...]:
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        raise PictureHeaderError("no code stream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    if not 1 <= components <= 4:
        raise PictureHeaderError(f"{components} components")
    return right - left, bottom - top


def _foreign(data: bytes) -> tuple[int, ...]:
    raise PictureHeaderError("OpenCV reads no such files; convert it to JPEG or PNG")


def _starts(*heads: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(heads)


def _is_pnm(head: bytes) -> bool:
    return re.match(rb"P[1-7fF][\s#]", head) is not None


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], tuple[int, ...]]]] = {
    "JPEG": (_starts(b"\xff\xd8\xff"), _jpeg),
    "PNG": (_starts(b"\x89PNG\r\n\x1a\n"), _png),
    "GIF": (_starts(b"GIF87a", b"GIF89a"), _gif),
    "WebP": (_is_webp, _webp),
    "BMP": (lambda head: head[:2] == b"BM" and len(head) > 17 and head[15:18] == b"\0\0\0", _bmp),
    "TIFF": (_starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    "PNM": (_is_pnm, _pnm),
    "HDR": (_starts(b"#?RADIANCE", b"#?RGBE"), _hdr),
    "Sun raster": (_starts(b"\x59\xa6\x6a\x95"), _sun_raster),
    "JPEG 2000": (_starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _jpeg_2000),
    "AVIF": (is_avif, avif_size),
    "HEIC": (lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS, _foreign),
    "JPEG XL": (_starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), _foreign),
    "OpenEXR": (_starts(b"\x76\x2f\x31\x01"), _foreign),
    "Photoshop": (_starts(b"8BPS"), _foreign),
}
