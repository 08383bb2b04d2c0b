"""Video files: every frame exactly once, at the file's own pace or as fast as they are taken."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.picture_file import check_file
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.redaction import redacted
from fer_edge.sources.ahead import ReadAhead
from fer_edge.sources.capture import positive_or_none
from fer_edge.sources.ffmpeg import open_capture

logger = logging.getLogger("fer_edge")

# Containers that count by duration times rate are often a frame or two off; a cut file misses many.
_TOLERANCE_FRAMES = 2
_TOLERANCE_FRACTION = 0.01
# For a container without a rate.
_FALLBACK_FPS = 25.0


class VideoSource:
    """The frames of a video file, decoded ahead by a thread. `captured_at_s` is media time from its first frame.

    In `real_time` no frame is given before its time; whoever is slower gets every frame all the same, later. A file
    that ends early gives what could be decoded, then a warning in the log.
    """

    continuous = True
    live = False

    def __init__(self, path: Path, *, real_time: bool = False, limit: PictureLimit = DEFAULT_LIMIT) -> None:
        self.path, self._limit = path, limit
        self._real_time = real_time
        self._ahead: ReadAhead[tuple[NDArray[np.uint8], float]] | None = None
        self.name = redacted(str(path))
        self.fps: float | None = None
        self.frame_count: int | None = None
        self._capture: cv2.VideoCapture | None = None

    def __enter__(self) -> VideoSource:
        """Open the file and find its rate and length. Raises SourceError when it holds no video."""
        check_file(self.path, "a video file")
        capture = open_capture(self.path, self.name, limit=self._limit)
        # Decoding the first frame now is what tells a video from a file that only looks like one.
        if not capture.isOpened() or not capture.grab():
            capture.release()
            raise SourceError(
                f"{self.name}: not a video that can be decoded: damaged, cut short or another format. "
                "Expected e.g. .mp4, .mkv, .avi; check that it plays elsewhere."
            )
        self._capture = capture
        self.fps = positive_or_none(capture, cv2.CAP_PROP_FPS) or _FALLBACK_FPS
        self.frame_count = int(positive_or_none(capture, cv2.CAP_PROP_FRAME_COUNT) or 0) or None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Join the thread and close the file."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once, index 0, 1, 2, ..."""
        if self._capture is None or self.fps is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        self._ahead = ReadAhead(self._pictures(self._capture), f"read {self.name}")
        given = 0
        first_s = time_s = started_at_s = 0.0
        for image, position_s in self._ahead:
            if given == 0:
                first_s, started_at_s = position_s, time.monotonic()
            else:
                time_s = _later(position_s - first_s, time_s, 1.0 / self.fps)
            if self._real_time:
                time.sleep(max(0.0, started_at_s + time_s - time.monotonic()))
            yield Frame(image, given, time_s, self.name)
            given += 1
        self._warn_if_short(given)

    def _pictures(self, capture: cv2.VideoCapture) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Each picture with its position in seconds. The first was grabbed on entering."""
        found, image = capture.retrieve()
        while found:
            yield image, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0  # type: ignore[misc]
            found, image = capture.read()

    def _warn_if_short(self, given: int) -> None:
        claimed = self.frame_count or 0
        if claimed - given > max(_TOLERANCE_FRAMES, claimed * _TOLERANCE_FRACTION):
            logger.warning(
                "%s: ended early: %d of the %d frames it claims could be decoded. Is the file cut short?",
                *(self.name, given, claimed),
            )


def _later(position_s: float, previous_s: float, period_s: float) -> float:
    """The container's time where it moves on, else one period after the previous frame."""
    return position_s if math.isfinite(position_s) and position_s > previous_s else previous_s + period_s
