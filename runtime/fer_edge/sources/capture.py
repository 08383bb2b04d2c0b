"""OpenCV captures: cameras by number or device, properties they leave unknown, pixels not square, pictures turned."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.frames import Frame
from fer_edge.native import native_text
from fer_edge.quiet import native_stderr_closed, quiet_opencv
from fer_edge.redaction import redacted
from fer_edge.sources.address import SYSFS, is_csi_camera
from fer_edge.sources.live import LiveOptions, LiveSource
from fer_edge.sources.newest import EndOfStreamError, Shot

if TYPE_CHECKING:
    from fer_edge.sources import Source

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
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


@dataclass(frozen=True)
class Orientation:
    """How to turn a picture upright: `rotation_deg` clockwise (0, 90, 180, 270), then mirrored left to right or not."""

    rotation_deg: int = 0
    mirror: bool = False

    def turned(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture (h, w, 3) uint8, turned; itself where there is nothing to turn."""
        if self.rotation_deg:
            image = np.asarray(cv2.rotate(image, _TURNS[self.rotation_deg]), dtype=np.uint8)
        return np.asarray(cv2.flip(image, 1), dtype=np.uint8) if self.mirror else image


class OrientedSource:
    """The frames of another source, turned."""

    def __init__(self, source: Source, orientation: Orientation) -> None:
        self._source, self._orientation = source, orientation
        self.name, self.continuous, self.live = source.name, source.continuous, source.live
        self.fps, self.frame_count = source.fps, source.frame_count

    @property
    def left_out(self) -> int:
        """As the other source counts them."""
        return self._source.left_out

    def __enter__(self) -> OrientedSource:
        """Enter the other source. Raises SourceError."""
        self._source.__enter__()
        self.fps, self.frame_count = self._source.fps, self._source.frame_count
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the other source."""
        self._source.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        """Its frames, turned."""
        turned = self._orientation.turned
        for frame in self._source:
            small = None if frame.small_bgr is None else turned(frame.small_bgr)
            frame = dataclasses.replace(frame, image_bgr=turned(frame.image_bgr), small_bgr=small)
            yield frame
            del frame, small


def camera_source(device: int | str, options: LiveOptions | None = None, *, sysfs: Path = SYSFS) -> LiveSource:
    """A camera by index, or by path such as /dev/v4l/by-id/...; the driver may choose another size than asked for."""
    chosen = options or LiveOptions()
    name = f"camera {device}" if isinstance(device, int) else redacted(device)
    native_text(str(device), name, SourceError)
    return LiveSource(name, lambda: _open(device, name, chosen, sysfs), chosen)


def _open(device: int | str, name: str, options: LiveOptions, sysfs: Path) -> CaptureDevice:
    on_linux = sys.platform == "linux"
    if on_linux:
        _check(device, name, sysfs)
    quiet_opencv()
    # Elsewhere OpenCV knows the system's camera interface best.
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if on_linux else cv2.CAP_ANY)
    if not capture.isOpened():
        raise SourceAbsentError(
            f"{name}: the driver refuses to open it. Is another program using it (`fuser -v /dev/video*`)?"
        )
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width_px)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height_px)
    return CaptureDevice(capture, complains=True)


def _check(device: int | str, name: str, sysfs: Path) -> None:
    """Raise SourceError where OpenCV would only say that it failed."""
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    if is_csi_camera(device, sysfs):
        raise SourceError(f"{name} is a CSI camera, which V4L2 cannot read here. Use --source picamera2:N (N from 0).")
    if not path.exists():
        found = ", ".join(sorted(str(other) for other in Path("/dev").glob("video*"))) or "none"
        shown = redacted(str(path))
        raise SourceAbsentError(
            f"{name}: {shown} does not exist; found: {found}. Is it plugged in (`v4l2-ctl --list-devices`)?"
        )
    if not path.is_char_device():
        raise SourceError(f"{name}: {redacted(str(path))} is no camera. Expected a V4L2 device such as /dev/video0.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: no permission for {path}. Run `sudo usermod -aG video $USER` and log in again.")
