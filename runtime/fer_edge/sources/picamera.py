"""CSI cameras of a Raspberry Pi, through picamera2: a picture for people and the classifier, a small one to detect in.

Formats and calls follow "The Picamera2 Library" (Raspberry Pi Ltd): sections 4.2 (streams) and 6.2 (capturing buffers).
What was asked for is not always what comes: libcamera adjusts a configuration to what the camera can do (a USB camera
gives YUYV or MJPEG), so the one it settled on is read back, and its pictures are converted.
"""

from __future__ import annotations

import concurrent.futures
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.picture_file import decode_image
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.sources.live import LiveOptions, LiveSource
from fer_edge.sources.newest import Shot
from fer_edge.troubles import Troubles

# libcamera names a format by the order in a little-endian word: its RGB888 lies in memory as B, G, R, which is what
# OpenCV means by BGR.
_PACKED = {
    "RGB888": (3, None),
    "BGR888": (3, cv2.COLOR_RGB2BGR),
    "XRGB8888": (4, cv2.COLOR_BGRA2BGR),
    "ARGB8888": (4, cv2.COLOR_BGRA2BGR),
    "XBGR8888": (4, cv2.COLOR_RGBA2BGR),
    "ABGR8888": (4, cv2.COLOR_RGBA2BGR),
    "RGB161616": (6, None),
    "BGR161616": (6, cv2.COLOR_RGB2BGR),
    "R8": (1, cv2.COLOR_GRAY2BGR),
}
_YUV_422 = {
    "YUYV": cv2.COLOR_YUV2BGR_YUY2,
    "YVYU": cv2.COLOR_YUV2BGR_YVYU,
    "UYVY": cv2.COLOR_YUV2BGR_UYVY,
}
_YUV_420 = {
    "YUV420": cv2.COLOR_YUV2BGR_I420,
    "YVU420": cv2.COLOR_YUV2BGR_YV12,
    "NV12": cv2.COLOR_YUV2BGR_NV12,
    "NV21": cv2.COLOR_YUV2BGR_NV21,
}
_MJPEG = "MJPEG"
FORMATS = (*_PACKED, *_YUV_422, *_YUV_420, _MJPEG)
# The small stream: more than any detector here takes in. Up to the Pi 4 it can only be YUV.
_SMALL_WIDTH_PX = 320
_SMALL_FORMAT = "YUV420"
_MAIN_FORMAT = "RGB888"
_LOOK_S = 0.5
# Lost in a USB cable now and then; a camera that sends nothing else has fallen silent.
_MOST_DAMAGED = 100


class PicameraDevice:
    """A started picamera2 camera; `layouts` has its streams by name: main, and lores where it gives a small picture."""

    def __init__(
        self,
        camera: Any,
        layouts: dict[str, Layout],
        name: str,
        options: LiveOptions,
        stop: threading.Event,
        troubles: Troubles,
    ) -> None:
        self._camera, self._layouts, self._name, self._options = camera, layouts, name, options
        self._stop, self._troubles = stop, troubles

    def read(self) -> Shot | None:
        """The next picture, from both streams of one and the same exposure. Raises SourceError."""
        for _ in range(_MOST_DAMAGED):
            buffers = self._buffers()
            if buffers is None:
                return None
            try:
                pictures = [
                    bgr_of(buffer, layout, self._name, self._options.limit)
                    for buffer, layout in zip(buffers, self._layouts.values(), strict=True)
                ]
            except SourceError as error:
                self._troubles.tell(f"{error} Left out.")
                continue
            return Shot(*pictures)
        return None

    def close(self) -> None:
        """Stop the camera and give it back; without it the next program finds it busy."""
        self._camera.stop()
        self._camera.close()

    def _buffers(self) -> list[NDArray[np.uint8]] | None:
        """The buffers of the next exposure, (n,) uint8 each; None once it is to stop."""
        job = self._camera.capture_buffers(list(self._layouts), wait=False)
        while not self._stop.is_set():
            try:
                buffers, _metadata = self._camera.wait(job, timeout=_LOOK_S)
            except concurrent.futures.TimeoutError:
                continue
            return [np.asarray(buffer, dtype=np.uint8) for buffer in buffers]
        return None


def picamera_source(number: int = 0, options: LiveOptions | None = None) -> LiveSource:
    """Camera `number`, as `rpicam-hello --list-cameras` counts them. Needs picamera2 when it is entered."""
    chosen = options or LiveOptions()
    name = f"picamera2:{number}"
    stop, troubles = threading.Event(), Troubles()

    def open_device() -> PicameraDevice:
        stop.clear()
        return _open(number, name, chosen, stop, troubles)

    return LiveSource(name, open_device, chosen, stop.set)


def _open(number: int, name: str, options: LiveOptions, stop: threading.Event, troubles: Troubles) -> PicameraDevice:
    camera = _grab(number, name)
    try:
        camera.configure(_wanted(camera, options))
        layouts = _settled(camera.camera_configuration(), name)
        camera.start()
    except BaseException:
        camera.close()
        raise
    return PicameraDevice(camera, layouts, name, options, stop, troubles)


def _wanted(camera: Any, options: LiveOptions) -> dict[str, Any]:
    # picamera2 takes even sizes only.
    width, height = max(2, options.width_px & ~1), max(2, options.height_px & ~1)
    small_px = _small_size(width, height)
    # Only the pipelines of a Raspberry Pi have a second stream, and libcamera crashes where another camera is asked for
    # one. This property is how picamera2 itself tells them apart.
    if "ColorFilterArrangement" not in camera.camera_properties:
        small_px = None
    configuration: dict[str, Any] = camera.create_video_configuration(
        main={"size": (width, height), "format": _MAIN_FORMAT},
        lores={"size": small_px, "format": _SMALL_FORMAT} if small_px else None,
        buffer_count=options.buffer_count,
    )
    return configuration


def _settled(configuration: dict[str, Any], name: str) -> dict[str, Layout]:
    """The streams as libcamera adjusted them. Raises SourceError for a format nobody here converts."""
    layouts = {}
    for stream in ("main", "lores"):
        if configuration.get(stream):
            width, height = configuration[stream]["size"]
            layout = Layout(
                str(configuration[stream]["format"]), width, height, configuration[stream].get("stride") or 0
            )
            layout.check(name)
            layouts[stream] = layout
    return layouts


def _small_size(width_px: int, height_px: int) -> tuple[int, int] | None:
    """Size of the small stream, in the shape of the main one; None where the main one is no larger."""
    if width_px <= _SMALL_WIDTH_PX:
        return None
    # YUV420 halves rows and columns, so both are even.
    return _SMALL_WIDTH_PX, max(round(height_px * _SMALL_WIDTH_PX / width_px / 2), 1) * 2


def _grab(number: int, name: str) -> Any:
    try:
        from picamera2 import Picamera2
    except (ImportError, ValueError) as error:  # ValueError: compiled for another generation of numpy
        raise SourceError(
            f"{name}: picamera2 cannot be imported ({error}). Run `sudo apt install python3-picamera2`, make the "
            "virtual environment with `python3 -m venv --system-site-packages` (pip's copy does not fit libcamera), "
            'and on bookworm keep apt\'s numpy: `pip install "numpy<2" "opencv-python-headless<4.12"`.'
        ) from None
    cameras = len(Picamera2.global_camera_info())
    if number >= cameras:
        raise SourceAbsentError(
            f"{name}: libcamera sees {cameras} camera(s). Check the cable and `rpicam-hello --list-cameras`."
        )
    try:
        return Picamera2(camera_num=number)
    except (RuntimeError, IndexError) as error:
        raise SourceAbsentError(
            f"{name}: the camera cannot be opened ({error}). Is another program using it?"
        ) from None


@dataclass(frozen=True)
class Layout:
    """How a picture lies in memory: libcamera's name of the format, and rows of `stride_bytes`, padding included.

    The rows of half-width chroma planes take half the stride. A format that is compressed has no stride.
    """

    format: str
    width_px: int
    height_px: int
    stride_bytes: int = 0

    def check(self, name: str) -> None:
        """Raise SourceError, which begins with `name`, for a format nobody here converts."""
        if self.format not in FORMATS:
            raise SourceError(
                f"{name}: the camera gives {self.format}, which cannot be converted; expected one of "
                f"{', '.join(FORMATS)}. Is it a raw stream?"
            )


def bgr_of(
    buffer: NDArray[np.uint8], layout: Layout, name: str, limit: PictureLimit = DEFAULT_LIMIT
) -> NDArray[np.uint8]:
    """The picture (h, w, 3) uint8 BGR in `buffer` (n,) uint8, which may be longer than the picture.

    Raises SourceError, which begins with `name`, where the buffer is shorter, or its JPEG damaged or beyond `limit`.
    """
    if layout.format == _MJPEG:
        return decode_image(buffer.tobytes(), name, limit=limit)
    if layout.format in _PACKED:
        return _packed(buffer, layout, name)
    if layout.format in _YUV_422:
        # Two pixels share four bytes.
        rows = _rows(buffer, layout, layout.height_px, name).reshape(layout.height_px, -1, 2)
        return _cropped(cv2.cvtColor(rows, _YUV_422[layout.format]), layout)
    # The chroma has a quarter of the pixels, twice.
    rows = _rows(buffer, layout, layout.height_px * 3 // 2, name)
    return _cropped(cv2.cvtColor(rows, _YUV_420[layout.format]), layout)


def _packed(buffer: NDArray[np.uint8], layout: Layout, name: str) -> NDArray[np.uint8]:
    pixel_bytes, conversion = _PACKED[layout.format]
    rows = _rows(buffer, layout, layout.height_px, name)[:, : layout.width_px * pixel_bytes]
    if pixel_bytes == 6:
        rows = rows[:, 1::2]  # the upper halves of little-endian 16 bits
        pixel_bytes = 3
    picture = np.ascontiguousarray(rows).reshape(layout.height_px, layout.width_px, pixel_bytes)
    if conversion is None:
        return picture
    return np.asarray(cv2.cvtColor(picture, conversion), dtype=np.uint8)


def _rows(buffer: NDArray[np.uint8], layout: Layout, count: int, name: str) -> NDArray[np.uint8]:
    size = count * layout.stride_bytes
    if size == 0 or len(buffer) < size:
        raise SourceError(
            f"{name}: a picture of {len(buffer)} bytes, expected {size} for {layout.format} of {layout.width_px}x"
            f"{layout.height_px} in rows of {layout.stride_bytes} bytes."
        )
    return buffer[:size].reshape(count, layout.stride_bytes)


def _cropped(picture: NDArray[Any], layout: Layout) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[: layout.height_px, : layout.width_px], dtype=np.uint8)
