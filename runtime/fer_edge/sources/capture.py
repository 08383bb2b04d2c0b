"""Common parts of OpenCV captures: unknown properties, pixels that are not square, the Device of live ones."""

import math
from contextlib import nullcontext

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.quiet import native_stderr_closed
from fer_edge.sources.newest import EndOfStreamError, Shot

# Closer to square than a pixel in a hundred, and further from it than any recorder goes: such a ratio is a mistake.
_SQUARE, _OBLONG = 0.01, 4.0


def positive_or_none(capture: cv2.VideoCapture, number: int) -> float | None:
    """A property of a capture where it is known. OpenCV says "unknown" as 0, -1, NaN or a huge negative number."""
    value = capture.get(number)
    return value if math.isfinite(value) and value > 0 else None


def square_pixels(image: NDArray[np.uint8], capture: cv2.VideoCapture) -> NDArray[np.uint8]:
    """The frame `capture` gave last, (h, w, 3) uint8, stretched where its pixels are not square.

    Recorders store half or two thirds of the width, and a sample aspect ratio that says so. OpenCV has turned the
    picture by its rotation already, so that the ratio may have become one of the height.
    """
    numerator = positive_or_none(capture, cv2.CAP_PROP_SAR_NUM)
    denominator = positive_or_none(capture, cv2.CAP_PROP_SAR_DEN)
    if numerator is None or denominator is None:
        return image
    ratio = numerator / denominator
    if abs(ratio - 1) < _SQUARE or not 1 / _OBLONG <= ratio <= _OBLONG:
        return image
    height, width = image.shape[:2]
    on_its_side = round(positive_or_none(capture, cv2.CAP_PROP_ORIENTATION_META) or 0) % 180 == 90
    size = (width, round(height * ratio)) if on_its_side else (round(width * ratio), height)
    how = cv2.INTER_LINEAR if ratio > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (max(1, size[0]), max(1, size[1])), interpolation=how), dtype=np.uint8)


def _as_bgr(image: NDArray[np.uint8], capture: cv2.VideoCapture) -> NDArray[np.uint8]:
    """The frame as (h, w, 3) uint8 BGR. Raises SourceError where it is no picture in colour.

    OpenCV 4.11 gives a V4L2 camera's BGR3 as one row of all bytes, although it says that it converts.
    """
    if image.ndim == 3 and image.shape[2] == 3:
        return image
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    is_bgr = fourcc == cv2.VideoWriter.fourcc(*"BGR3")
    if not is_bgr or width < 1 or height < 1 or image.size % height or image.size // height < width * 3:
        form = fourcc.to_bytes(4, "little").decode("ascii", "backslashreplace")
        raise SourceError(
            f"expected pictures (height, width, 3), found {image.shape} in the camera's format {form!r}, which this "
            "OpenCV does not convert. Choose another format with `v4l2-ctl --set-fmt-video`, or another OpenCV."
        )
    # Rows may be padded.
    return np.ascontiguousarray(image.reshape(height, -1)[:, : width * 3]).reshape(height, width, 3)


class CaptureDevice:
    """An opened cv2.VideoCapture. OpenCV converts to BGR itself, except as `_as_bgr` says.

    Where `complains`, its decoder prints a line for each picture with a flaw, as libjpeg does with those of many USB
    cameras; they are kept from the log.
    """

    def __init__(self, capture: cv2.VideoCapture, *, complains: bool = False) -> None:
        self._capture = capture
        self._decoding = native_stderr_closed if complains else nullcontext
        # Cameras and streams have no number of frames.
        self._has_end = positive_or_none(capture, cv2.CAP_PROP_FRAME_COUNT) is not None

    def read(self) -> Shot | None:
        """The next picture (h, w, 3) uint8 BGR, or None at the end, at an error and after OpenCV's own timeout.

        Raises SourceError where OpenCV gives no picture in colour.
        """
        found, image = self._capture.grab(), None
        if found:
            with self._decoding():
                found, image = self._capture.retrieve()
        if not found and self._has_end:
            raise EndOfStreamError("the video came to its end.")
        if not found:
            return None
        return Shot(square_pixels(_as_bgr(np.asarray(image, dtype=np.uint8), self._capture), self._capture))

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()
