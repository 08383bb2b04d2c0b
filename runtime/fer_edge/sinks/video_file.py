"""Annotated video."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_edge.files import DEFAULT_FSYNC_S
from fer_edge.frames import Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.sinks.containers import SUFFIXES
from fer_edge.sinks.output_name import OutputName
from fer_edge.sinks.recording import Recording

logger = logging.getLogger("fer_edge")

_LIVE_FPS = 10.0
# For files that claim a higher rate: that is the resolution of their timestamps.
_FALLBACK_FPS = 30.0
_LEAST_FPS, _MOST_FPS = 0.1, 250.0
# MPEG-4 stores the rate as a fraction of 16-bit numbers.
_MOST_TICKS = 65_535
# Longer gaps between frames are not filled with the last picture; they start another file.
_FILLED_LIVE_S, _FILLED_FILE_S = 10.0, 60.0


class VideoSink:
    """Writes annotated frames to a video file.

    `fps` is the rate of the source; None is for live sources, which are recorded at ten frames a second. Frames are
    repeated or dropped so that the video stays within two frames of their `captured_at_s`. A longer gap ends the file
    and starts the next one. The first frame of a file sets its size; frames of another size are fitted in with black
    bars. `pictures` draws the frames and hides what must not be shown.

    The file plays while it grows, and wherever a power cut ends it. A recording is never replaced: where the name is
    taken, it becomes NAME-2. On a full disk the file is finished, `write` raises OSError, and the next call starts
    another file.
    """

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        pictures: Pictures | None = None,
        *,
        fsync_s: float = DEFAULT_FSYNC_S,
    ) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"cannot write '{path}': expected a name ending in one of {', '.join(SUFFIXES)}.")
        self.path = path
        self.name = f"video {path}"
        self.lost = 0
        self._pictures = pictures or Pictures()
        self._source_fps, self._fsync_s = fps, fsync_s
        self._output = OutputName(path)
        self._recording: Recording | None = None
        self._timeline = Timeline(fps)
        self._last: NDArray[np.uint8] | None = None

    def __enter__(self) -> VideoSink:
        """Create the file. Raises UsageError."""
        try:
            self._begin()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {self.path}: {reason}. Choose a file you may write to.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file."""
        self._finish()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Draw the frame and write it. Raises OSError where the encoder refuses it, or the file cannot grow."""
        if self._recording is None or self._recording.is_full or self._recording.was_moved():
            self._begin()
        copies = self._timeline.due(frame.captured_at_s)
        shown = None if copies == 0 else self._pictures.of(frame, result)
        if shown is None:
            return
        if copies is None:
            self._begin()
        try:
            self._record(shown, copies or 1, frame.captured_at_s)
        except OSError as error:
            kept = self._finish()
            remainder = f"; what was filmed until then is kept as {kept}" if kept else ""
            raise OSError(error.errno, f"{error.strerror or error}{remainder}") from error

    def _record(self, shown: NDArray[np.uint8], copies: int, time_s: float) -> None:
        """Write `copies` frames: the last one is `shown`, those before repeat the previous picture."""
        assert self._recording is not None
        self._recording.open(*shown.shape[:2])
        picture = letterboxed(shown, self._recording.width_px, self._recording.height_px)
        for _ in range(copies - 1):
            self._recording.write(picture if self._last is None else self._last)
        self._recording.write(picture)
        self._timeline.wrote(copies, time_s)
        self._last = picture

    def _begin(self) -> None:
        """Finish the current file, if there is one, and start another."""
        self._finish()
        self._timeline, self._last = Timeline(self._source_fps), None
        self._recording = Recording(self._output, self._timeline.fps, self._fsync_s)
        if self._recording.path != self._output.behind_links():
            logger.warning("%s exists already; recording to %s.", self.path, self._recording.path)

    def _finish(self) -> Path | None:
        """Finish the file; returns its path where it holds any frame."""
        recording, self._recording = self._recording, None
        if recording is None:
            return None
        lost = recording.close()
        self.lost += lost
        if lost:
            reason = f" ({recording.failure.strerror})" if recording.failure else ""
            logger.warning("%s: %d of %d frames are missing in it%s.", recording.path, lost, recording.frames, reason)
        return recording.path if recording.frames > lost else None


class Timeline:
    """Decides how often to write each frame, so that a video of constant rate follows the times of its frames.

    Frames of a file may be off by one position before they are repeated or dropped, which keeps every frame of a file
    with slightly uneven times; frames of a live source by half a position.
    """

    def __init__(self, source_fps: float | None) -> None:
        self.fps = encodable_rate(source_fps)
        live = source_fps is None
        self._tolerance = 0.5 if live else 1.0
        period_s = 1 / source_fps if source_fps and source_fps > 0 else 0.0
        self._filled = max(_FILLED_LIVE_S if live else _FILLED_FILE_S, 3 * period_s) * self.fps
        self._start_s: float | None = None
        self._newest_s = 0.0
        self._written = 0

    def due(self, time_s: float) -> int | None:
        """Return how many frames to write up to and with that of `time_s`; 0 drops it, None starts another file."""
        if self._start_s is None or not math.isfinite(time_s):
            return 1
        if time_s < self._newest_s:  # the clock was set back; continue from here
            self._start_s = time_s - self._written / self.fps
        self._newest_s = time_s
        late = (time_s - self._start_s) * self.fps - self._written
        if late > self._filled:
            return None
        if abs(late) <= self._tolerance:
            return 1
        return max(0, 1 + round(late))

    def wrote(self, copies: int, time_s: float) -> None:
        """Count frames that were written, the last of which is that of `time_s`."""
        if self._start_s is None and math.isfinite(time_s):
            self._start_s = self._newest_s = time_s
        self._written += copies


def encodable_rate(fps: float | None) -> float:
    """Return the rate nearest to `fps` that the codecs can store; a default where `fps` is no plausible rate."""
    if fps is None or not fps > 0:
        return _LIVE_FPS
    if fps > _MOST_FPS:
        return _FALLBACK_FPS
    fps = max(fps, _LEAST_FPS)
    scale = next(scale for scale in (1000, 100, 10, 1) if fps * scale <= _MOST_TICKS)
    return round(fps * scale) / scale


def letterboxed(image_bgr: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """The whole image (h, w, 3) in the middle of a black one of the given size, its shape kept."""
    height, width = image_bgr.shape[:2]
    if (height, width) == (height_px, width_px):
        return image_bgr
    scale = min(width_px / width, height_px / height)
    inner_w, inner_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (width_px - inner_w) // 2, (height_px - inner_h) // 2
    canvas = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(
        image_bgr, (inner_w, inner_h), interpolation=cv2.INTER_AREA
    )
    return canvas
