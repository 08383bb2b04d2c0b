"""What the text after `--source` names."""

from enum import Enum
from pathlib import Path

from fer_edge.errors import SourceError
from fer_edge.redaction import quoted, redacted

SYSFS = Path("/sys/class/video4linux")
IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
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
    if _is_index(text) or text.startswith(("/dev/video", "/dev/v4l/")):
        return Kind.CAMERA
    if text == "picamera2" or text.startswith("picamera2:"):
        return Kind.PICAMERA
    if "://" in text:
        return _stream_kind(text)
    if _is_folder(text):
        return Kind.FOLDER
    return Kind.IMAGE if Path(text).suffix.lower() in IMAGE_SUFFIXES else Kind.VIDEO


def camera_device(text: str) -> int | str:
    """The index of a V4L2 camera, or its path where that is not /dev/videoN (a link below /dev/v4l, say)."""
    number = text.removeprefix("/dev/video")
    return int(number) if _is_index(number) else text


def picamera_number(text: str) -> int:
    """The camera number in `picamera2` (0) or `picamera2:N`. Raises SourceError when N is not a number."""
    number = text.removeprefix("picamera2").removeprefix(":")
    if number and not _is_index(number):
        raise SourceError(f"{quoted(text)} names no CSI camera: expected picamera2 or picamera2:N with a number N.")
    return int(number or 0)


def is_csi_camera(device: int | str, sysfs: Path = SYSFS) -> bool:
    """Is this V4L2 device the raw receiver of a Raspberry Pi's CSI camera, which only libcamera can drive?"""
    name = f"video{device}" if isinstance(device, int) else Path(device).name
    try:
        return (sysfs / name / "name").read_text(encoding="utf-8", errors="replace").startswith(_CSI_DRIVERS)
    except OSError:
        return False


def _is_index(text: str) -> bool:
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


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL in it: no folder; opening it says what is wrong
        return False
