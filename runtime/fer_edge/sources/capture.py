"""cv2.VideoCapture as a Device: what camera and stream have in common."""

import math

import cv2
import numpy as np

from fer_edge.sources.latest import EndOfStreamError, Shot


def positive_or_none(capture: cv2.VideoCapture, number: int) -> float | None:
    """A property of a capture where it is known. OpenCV says "unknown" as 0, -1, NaN or a huge negative number."""
    value = capture.get(number)
    return value if math.isfinite(value) and value > 0 else None


class CaptureDevice:
    """An opened cv2.VideoCapture. OpenCV converts to BGR itself."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        # Cameras and streams have no number of frames.
        self._has_end = positive_or_none(capture, cv2.CAP_PROP_FRAME_COUNT) is not None

    def read(self) -> Shot | None:
        """The next picture (h, w, 3) uint8 BGR, or None at the end, at an error and after OpenCV's own timeout."""
        found, image = self._capture.read()
        if not found and self._has_end:
            raise EndOfStreamError("the video came to its end.")
        return Shot(np.asarray(image, dtype=np.uint8)) if found else None

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()
