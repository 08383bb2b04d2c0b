"""Annotated video."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError, UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.quiet import quiet_opencv

# Codecs that every build of OpenCV from PyPI can write; H.264 is in none of them.
_CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
_LIVE_FPS = 10.0
# A camera that was gone for an hour must not become an hour of the same picture.
_MAX_GAP_S = 2.0


class VideoSink:
    """Writes the frames with what was found drawn in; appears under its final name only once it is whole.

    `fps` is the source's rate: each frame is written once. None, for a live source, writes ten frames a second and
    repeats or leaves out frames by their `captured_at_s`, so that it plays at the speed of life. The first frame sets
    the size; frames of another size are fitted into it with black bars. Leaving by an error removes the file; leaving
    by Ctrl-C or because the source was lost keeps it: what was filmed until then is whole. `pictures` draws them, and
    knows what has to be hidden.
    """

    def __init__(self, path: Path, fps: float | None = None, pictures: Pictures | None = None) -> None:
        if path.suffix.lower() not in _CODECS:
            raise UsageError(f"cannot write '{path}': expected a name ending in one of {', '.join(_CODECS)}.")
        # Absolute, because FFMPEG takes a relative name with a colon in it for the address of a protocol.
        self.path = path.absolute()
        self.name = f"video {path}"
        self._pictures = pictures or Pictures()
        self._fps = fps or _LIVE_FPS
        self._clock = None if fps else _Clock(_LIVE_FPS)
        # The suffix stays last: OpenCV chooses the container by it.
        self._temporary = self.path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._width_px = self._height_px = self._written = 0

    def __enter__(self) -> VideoSink:
        """See that the file can be written. Raises UsageError."""
        try:
            if self.path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.touch()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {self.path}: {reason}. Choose a file you may write to.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and give it its name, or remove it."""
        try:
            if self._writer is not None:
                self._writer.release()
                if error is None or isinstance(error, (KeyboardInterrupt, SourceError)):
                    self._require_whole()
                    self._temporary.replace(self.path)
        finally:
            self._writer = None
            self._temporary.unlink(missing_ok=True)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Draw the frame and write it. Raises OSError when the encoder cannot be opened."""
        copies = 1 if self._clock is None else self._clock.copies(frame.captured_at_s)
        if copies == 0:
            return
        shown = self._pictures.of(frame, result)
        if shown is None:
            return
        if self._writer is None:
            self._writer = self._open(*frame.image_bgr.shape[:2])
        picture = letterboxed(shown, self._width_px, self._height_px)
        for _ in range(copies):
            self._writer.write(picture)
            self._written += 1

    def _require_whole(self) -> None:
        """Raise OSError unless the file holds what was written: the encoder itself says nothing of a full disk."""
        reader = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        reader.release()
        # Some containers have no count, only a length in milliseconds, from which the last frame may be rounded away.
        if found < max(1, self._written - 1):
            raise OSError(f"only {found} of {self._written} frames arrived in the file; is the disk full?")

    def _open(self, height_px: int, width_px: int) -> cv2.VideoWriter:
        quiet_opencv()
        # The encoders want even sizes.
        self._width_px, self._height_px = max(2, width_px & ~1), max(2, height_px & ~1)
        codec = cv2.VideoWriter.fourcc(*_CODECS[self.path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._temporary), codec, self._fps, (self._width_px, self._height_px))
        if not writer.isOpened():
            raise OSError(f"the encoder refuses {self._width_px}x{self._height_px} at {self._fps:g} frames/s")
        return writer


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


class _Clock:
    """Turns moments into numbers of copies, so that a constant rate shows frames when they happened."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start_s: float | None = None
        self._written = 0

    def copies(self, time_s: float) -> int:
        """How often to write the frame of `time_s`; 0 when its place is taken already."""
        if self._start_s is None:
            self._start_s = time_s
        due = round((time_s - self._start_s) * self._fps) + 1 - self._written
        most = round(_MAX_GAP_S * self._fps)
        if due > most:
            self._start_s += (due - most) / self._fps
            due = most
        self._written += max(0, due)
        return max(0, due)
