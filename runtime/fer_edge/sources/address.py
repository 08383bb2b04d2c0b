"""Interpret the text after `--source`."""

import os
import stat
from enum import Enum
from pathlib import Path

from fer_edge.errors import SourceError
from fer_edge.picture_header import SNIFF_BYTES, is_animated_gif, kind_of_picture
from fer_edge.redaction import quoted, redacted

SYSFS = Path("/sys/class/video4linux")
# For the wording of errors, and so that not every file of a folder has to be opened; first bytes decide.
IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "dib", "gif", "hdr", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm"),
        *("ras", "tif", "tiff", "webp"),
    )
)
# What several sources may not be; whatever else is no picture is left out with a warning.
VIDEO_SUFFIXES = frozenset(
    f".{name}" for name in ("avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ts", "webm", "wmv")
)
# The second picture of an animated GIF is looked for in so much of it.
_GIF_LOOK_BYTES = 1 << 20
_V4L2_MAJOR = 81
STREAM_SCHEMES = ("http", "https", "rtmp", "rtsp", "rtsps")

# What Raspberry Pi OS calls the raw CSI receivers: unicam up to the Pi 4, rp1-cfe on the Pi 5.
_CSI_DRIVERS = ("unicam", "rp1-cfe")


class Kind(Enum):
    """The kinds of source, one file each."""

    CAMERA = "camera"
    PICAMERA = "picamera2"
    STREAM = "stream"
    FOLDER = "folder"
    IMAGE = "image"
    VIDEO = "video"


def kind_of(text: str) -> Kind:
    """The kind of source `text` names. Raises SourceError for empty text and for a scheme nobody here speaks."""
    if not text.strip():
        raise SourceError("No source given. Name a camera index, a file, a folder or a stream's address.")
    if is_index(text) or text.startswith(("/dev/video", "/dev/v4l/")):
        return Kind.CAMERA
    if text == "picamera2" or text.startswith("picamera2:"):
        return Kind.PICAMERA
    if "://" in text:
        return _stream_kind(text)
    path = Path(text)
    if _is_folder(path):
        return Kind.FOLDER
    if _is_v4l2_device(path):
        return Kind.CAMERA
    return _file_kind(path)


def camera_device(text: str) -> int | str:
    """The index of a V4L2 camera, or its path where that is not /dev/videoN (a link below /dev/v4l, say)."""
    number = text.removeprefix("/dev/video")
    return int(number) if is_index(number) else text


def picamera_number(text: str) -> int:
    """The camera number in `picamera2` (0) or `picamera2:N`. Raises SourceError when N is not a number."""
    number = text.removeprefix("picamera2").removeprefix(":")
    if number and not is_index(number):
        raise SourceError(f"{quoted(text)} names no CSI camera: expected picamera2 or picamera2:N with a number N.")
    return int(number or 0)


def is_csi_camera(device: int | str, sysfs: Path = SYSFS) -> bool:
    """Is this V4L2 device the raw receiver of a Raspberry Pi's CSI camera, which only libcamera can drive?"""
    name = f"video{device}" if isinstance(device, int) else Path(device).name
    try:
        return (sysfs / name / "name").read_text(encoding="utf-8", errors="replace").startswith(_CSI_DRIVERS)
    except OSError:
        return False


def is_index(text: str) -> bool:
    """Whether `text` is a camera's number."""
    # isdigit() alone is also true of superscripts, which int() refuses; no system has 10,000 cameras.
    return text.isascii() and text.isdigit() and len(text) <= 4


def _stream_kind(text: str) -> Kind:
    scheme = text.partition("://")[0].lower()
    if scheme not in STREAM_SCHEMES:
        expected = ", ".join(STREAM_SCHEMES)
        raise SourceError(
            f"{redacted(text)}: cannot read addresses of this scheme, only of {expected}. Give a file by its path."
        )
    return Kind.STREAM


def _file_kind(path: Path) -> Kind:
    """Image or video, by the first bytes; by the suffix where they say nothing, or there is no such file."""
    try:
        if path.is_file():
            with path.open("rb") as stream:
                head = stream.read(SNIFF_BYTES)
                kind = kind_of_picture(head)
                if kind == "GIF" and is_animated_gif(head + stream.read(_GIF_LOOK_BYTES)):
                    return Kind.VIDEO
            if kind is not None:
                return Kind.IMAGE
    except (OSError, ValueError):  # opening it will say what is wrong
        pass
    return Kind.IMAGE if path.suffix.lower() in IMAGE_SUFFIXES else Kind.VIDEO


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL in it: no folder; opening it says what is wrong
        return False


def _is_v4l2_device(path: Path) -> bool:
    """True for a name that udev gave a camera, such as /dev/front-door."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _V4L2_MAJOR
