"""cv2.VideoCapture as a Device: what camera and stream have in common."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray


class CaptureDevice:
    """An opened cv2.VideoCapture. OpenCV converts to BGR itself."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def read(self) -> NDArray[np.uint8] | None:
        """The next picture (h, w, 3) uint8 BGR, or None at the end, at an error and after OpenCV's own timeout."""
        found, image = self._capture.read()
        return cast("NDArray[np.uint8]", image) if found else None

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()
