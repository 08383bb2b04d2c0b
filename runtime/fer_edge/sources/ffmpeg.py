"""Opening what the FFMPEG inside OpenCV reads, so that no file or stream makes it take more memory than there is."""

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2

from fer_edge.errors import SourceError
from fer_edge.native import native_path, native_text
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.quiet import quiet_opencv

# FFMPEG keeps up to 16 frames to predict from, and some more for its threads; a picture is decoded once. So a video may
# have this part of the pixels of a picture: with the default 9 million, 4096x2160.
_VIDEO_SHARE = 0.36
# What FFMPEG needs for itself, however small the video.
_LEAST_BYTES = 1 << 25
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# What OpenCV takes where the variable is not set.
_DEFAULT_OPTIONS = "rtsp_flags;prefer_tcp"
_options_lock = threading.Lock()


def open_capture(
    place: Path | str,
    name: str,
    parameters: list[int] | None = None,
    *,
    limit: PictureLimit = DEFAULT_LIMIT,
    options: Mapping[str, str] | None = None,
) -> cv2.VideoCapture:
    """A file (by its path) or a stream (by its address), opened by FFMPEG; `isOpened()` tells whether it could be.

    `options` are FFMPEG's own; those the user set by OPENCV_FFMPEG_CAPTURE_OPTIONS come before them.
    Raises SourceError, which begins with `name`, where its frames are larger than 36 % of `limit`.
    """
    quiet_opencv()
    _limit_allocations(max(limit.bytes, _LEAST_BYTES))
    with ExitStack() as opening:
        opening.enter_context(_capture_options(options or {}))
        if isinstance(place, Path):
            address = opening.enter_context(native_path(place, SourceError))
        else:
            address = native_text(place, name, SourceError)
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters or [])
    width, height = (int(capture.get(number)) for number in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    most = limit.megapixels * _VIDEO_SHARE
    if width * height > most * 1e6:
        capture.release()
        raise SourceError(
            f"{name}: a video of {width}x{height}; the limit is {most:g} million pixels a frame, 36 % of that for "
            f"pictures. {limit.remedy}"
        )
    return capture


@contextmanager
def _capture_options(options: Mapping[str, str]) -> Iterator[None]:
    """Hand options to FFMPEG in the only way OpenCV has, for the time of an opening."""
    with _options_lock:
        own = os.environ.get(_OPTIONS)
        known = dict(pair.split(";", 1) for pair in (own or _DEFAULT_OPTIONS).split("|") if ";" in pair)
        os.environ[_OPTIONS] = "|".join(f"{key};{value}" for key, value in {**options, **known}.items())
        try:
            yield
        finally:
            if own is None:
                del os.environ[_OPTIONS]
            else:
                os.environ[_OPTIONS] = own


def _limit_allocations(most_bytes: int) -> None:
    """Make FFMPEG refuse larger single allocations: for a packet without end, or a size that a few bytes claim.

    FFMPEG has av_max_alloc (libavutil/mem.h) for that, which OpenCV does not pass on, so it is called in the library
    that OpenCV loaded. Where there is no such library (a static build, not Linux) nothing is limited.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as stream:
            libraries = {line.split(maxsplit=5)[-1].strip() for line in stream if "libavutil" in line}
    except OSError:
        return
    for library in libraries:
        try:
            limit = ctypes.CDLL(str(Path(library))).av_max_alloc
        except (OSError, AttributeError):
            continue
        limit.argtypes, limit.restype = [ctypes.c_size_t], None
        limit(most_bytes)
