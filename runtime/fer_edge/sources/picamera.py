"""CSI cameras of a Raspberry Pi, through picamera2."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.sources.latest import LiveOptions, LiveSource

# The default of a video configuration is 6: too much CMA memory for a 512 MB board, and only the newest is wanted.
_BUFFER_COUNT = 2


class PicameraDevice:
    """A started picamera2 camera."""

    def __init__(self, camera: Any) -> None:
        self._camera = camera

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture (h, w, 3) uint8 BGR."""
        return np.ascontiguousarray(self._camera.capture_array("main"), dtype=np.uint8)

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
        # libcamera names formats by the order of a little-endian word: what it calls RGB888 lies in memory as B, G, R,
        # which is what OpenCV and Frame mean by BGR. Its "BGR888" would swap red and blue.
        camera.configure(
            camera.create_video_configuration(
                main={"size": (options.width_px, options.height_px), "format": "RGB888"}, buffer_count=_BUFFER_COUNT
            )
        )
        camera.start()
    except BaseException:
        camera.close()
        raise
    return PicameraDevice(camera)


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
        raise SourceError(
            f"{name}: libcamera sees {cameras} camera(s). Check the cable and `rpicam-hello --list-cameras`."
        )
    try:
        return Picamera2(camera_num=number)
    except (RuntimeError, IndexError) as error:
        raise SourceError(f"{name}: the camera cannot be opened ({error}). Is another program using it?") from None
