"""cv2.VideoCapture as a Device: what camera and stream have in common."""

import math
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.sources.latest import EndOfStreamError


class CaptureDevice:
    """An opened cv2.VideoCapture. OpenCV converts to BGR itself."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        # Cameras and streams have no number of frames: OpenCV says 0, -1, NaN or a huge negative number.
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._has_end = math.isfinite(frames) and frames > 0

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture (h, w, 3) uint8 BGR, or None at the end, at an error and after OpenCV's own timeout."""
        found, image = self._capture.read()
        if not found and self._has_end:
            raise EndOfStreamError("the video came to its end.")
        return cast("NDArray[np.uint8]", image) if found else None

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()
