"""Turning the frames of any source, for a camera under a ceiling, on its side or behind a mirror."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Frame

if TYPE_CHECKING:
    from fer_edge.sources import Source

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


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
