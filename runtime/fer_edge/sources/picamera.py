"""CSI cameras of a Raspberry Pi, through picamera2: a picture for people and the classifier, a small one to detect in.

Formats and calls follow "The Picamera2 Library" (Raspberry Pi Ltd): sections 4.2 (streams) and 6.1 (capturing arrays).
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.sources.latest import LiveOptions, LiveSource, Shot

# The small stream: more than any detector here takes in. Up to the Pi 4 it can only be YUV.
_SMALL_WIDTH_PX = 320
_SMALL_FORMAT = "YUV420"


class PicameraDevice:
    """A started picamera2 camera. `small_px` is (width, height) of its small stream, None without one."""

    def __init__(self, camera: Any, small_px: tuple[int, int] | None) -> None:
        self._camera, self._small_px = camera, small_px

    def read(self) -> Shot | None:
        """The next picture, from both streams of one and the same exposure."""
        if self._small_px is None:
            return Shot(_bgr(self._camera.capture_array("main")))
        (main, small), _metadata = self._camera.capture_arrays(["main", "lores"])
        return Shot(_bgr(main), _small_bgr(small, *self._small_px))

    def close(self) -> None:
        """Stop the camera and give it back; without it the next program finds it busy."""
        self._camera.stop()
        self._camera.close()


def picamera_source(number: int = 0, options: LiveOptions | None = None) -> LiveSource:
    """CSI camera `number`, as `rpicam-hello --list-cameras` counts them. Needs picamera2 when it is entered."""
    chosen = options or LiveOptions()
    name = f"picamera2:{number}"
    return LiveSource(name, lambda: _open(number, name, chosen), chosen)


def _open(number: int, name: str, options: LiveOptions) -> PicameraDevice:
    camera = _grab(number, name)
    try:
        small_px = _small_size(options.width_px, options.height_px)
        # libcamera names formats by the order of a little-endian word: what it calls RGB888 lies in memory as B, G, R,
        # which is what OpenCV and Frame mean by BGR. Its "BGR888" would swap red and blue.
        camera.configure(
            camera.create_video_configuration(
                main={"size": (options.width_px, options.height_px), "format": "RGB888"},
                lores={"size": small_px, "format": _SMALL_FORMAT} if small_px else None,
                buffer_count=options.buffer_count,
            )
        )
        camera.start()
    except BaseException:
        camera.close()
        raise
    return PicameraDevice(camera, small_px)


def _small_size(width_px: int, height_px: int) -> tuple[int, int] | None:
    """Size of the small stream, in the shape of the main one; None where the main one is no larger."""
    if width_px <= _SMALL_WIDTH_PX:
        return None
    # YUV420 halves rows and columns, so both are even.
    return _SMALL_WIDTH_PX, max(round(height_px * _SMALL_WIDTH_PX / width_px / 2), 1) * 2


def _bgr(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array, dtype=np.uint8)


def _small_bgr(planes: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """BGR of planes Y, U, V (height * 3/2, stride); the stride is the width rounded up to what the hardware likes."""
    picture = cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)
    return np.asarray(picture[:height_px, :width_px], dtype=np.uint8)


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
