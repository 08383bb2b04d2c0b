"""Reading pictures: the one place where they are decoded, and where their size is looked at before.

The runtime's sources and the workbench's readers come here. What a decoder takes follows from the header alone, so a
file that would take more memory or time than a board of 512 MB has is refused before anything is decoded.
"""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.picture_header import (
    DEFAULT_LIMIT,
    SNIFF_BYTES,
    PictureHeader,
    PictureHeaderError,
    PictureLimit,
    kind_of_picture,
    picture_header,
)
from fer_edge.quiet import native_stderr_closed, quiet_opencv
from fer_edge.redaction import quoted, redacted
from fer_edge.streams import printable

# Their decoders hold floats, several canvases or frames: 12 to 34 bytes a pixel where the others have 6 to 12.
_COST = {"AVIF": 4, "GIF": 2, "HDR": 2, "JPEG 2000": 2}
# A progressive JPEG has about 10 scans. Thousands fit into a small file, and each goes over all pixels.
_MAX_PASSES_AT_LIMIT = 40
_EXPECTED = "a folder of images, a camera or a stream's address"
_SPECIAL = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe (FIFO)",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


class PictureTooLargeError(SourceError):
    """A picture that would take more memory or time than is allowed."""


def check_file(path: Path, expected: str) -> None:
    """Raise SourceError where `path` is no readable file with something in it; `expected` says what it should be.

    A pipe or a device is refused without being opened: reading it could wait for ever.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = next((name for belongs, name in _SPECIAL.items() if belongs(mode)), "something else")
            raise SourceError(f"{path}: {found}, not a file. Expected {expected}.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise SourceError(f"{path}: the file is empty (0 bytes). Expected {expected}; copy it again.")
    except FileNotFoundError:
        near = _nearest(path)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise SourceError(f"{redacted(str(path))}: no such file.{meant} Expected {expected}, {_EXPECTED}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{quoted(str(path))}: cannot be read ({reason}). Expected {expected}.") from None


def _nearest(path: Path, count: int = 3) -> list[str]:
    """Suggest what a name of no file could mean, nearest first: a file beside it, a camera, the address of a stream."""
    try:
        beside = [str(path.with_name(entry.name)) for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        beside = []
    cameras = [device.name.removeprefix("video") for device in Path("/dev").glob("video[0-9]")]
    known = [*beside, *cameras, "picamera2", "rtsp://...", "http://..."]
    return [printable(name) for name in difflib.get_close_matches(str(path), known, n=count)]


def kind_of_file(path: Path) -> str | None:
    """The format of a picture file by its first bytes, such as "JPEG"; None for everything else, readable or not."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return kind_of_picture(stream.read(SNIFF_BYTES))
    except (OSError, ValueError):
        return None


def read_image(path: Path, *, grey: bool = False, limit: PictureLimit = DEFAULT_LIMIT) -> NDArray[np.uint8]:
    """A picture file as (h, w, 3) uint8 BGR, or (h, w) where `grey`; upright by its EXIF orientation.

    Alpha is dropped and 16 bits become 8. Raises SourceError when it is missing, empty, damaged, larger than `limit`
    (half of that for GIF, HDR and JPEG 2000, a quarter for AVIF) or not a picture.
    """
    check_file(path, "an image")
    try:
        with path.open("rb") as stream:
            data = stream.read(limit.bytes + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from None
    if len(data) > limit.bytes:
        size_mb = path.stat().st_size / 1e6
        raise SourceError(
            f"{path}: {size_mb:.0f} MB; the limit for images is {limit.bytes / 1e6:.0f} MB. {limit.remedy}"
        )
    return decode_image(data, str(path), grey=grey, limit=limit)


def decode_image(
    data: bytes, name: str, *, grey: bool = False, limit: PictureLimit = DEFAULT_LIMIT
) -> NDArray[np.uint8]:
    """The bytes of a picture file, decoded as `read_image` does. Raises SourceError, which begins with `name`."""
    try:
        header = picture_header(data)
    except PictureHeaderError as error:
        raise SourceError(f"{name}: not an image that can be decoded: {error}.") from None
    _check_size(header, name, limit)
    quiet_opencv()
    try:
        with native_stderr_closed():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError):
        image = None
    if image is None:
        raise SourceError(
            f"{name}: not an image that can be decoded: its {header.kind} data are damaged or cut short, or OpenCV "
            f"{cv2.__version__} does not read them."
        )
    return np.asarray(image, dtype=np.uint8)


def _check_size(header: PictureHeader, name: str, limit: PictureLimit) -> None:
    most = limit.megapixels / _COST.get(header.kind, 1)
    if header.pixels > most * 1e6:
        raise PictureTooLargeError(
            f"{name}: {header.width_px}x{header.height_px} are {header.pixels / 1e6:.1f} million pixels; the limit for "
            f"{header.kind} is {most:g} million. {limit.remedy}"
        )
    if header.passes * header.pixels > _MAX_PASSES_AT_LIMIT * limit.megapixels * 1e6:
        raise PictureTooLargeError(
            f"{name}: a JPEG of {header.passes} scans over {header.pixels / 1e6:.1f} million pixels, which would take "
            "minutes to decode. Save it again as a baseline JPEG."
        )
