"""Annotated video."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError, UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.sinks.recording import CODECS, Recording, numbered, take_up_leftovers, unfinished

_LIVE_FPS = 10.0
# A camera that was gone for an hour must not become an hour of the same picture.
_MAX_GAP_S = 2.0


class VideoSink:
    """Writes the frames with what was found drawn in; appears under its final name only once it is finished.

    `fps` is the source's rate: each frame is written once. None, for a live source, writes ten frames a second and
    repeats or leaves out frames by their `captured_at_s`, so that it plays at the speed of life. The first frame sets
    the size; frames of another size are fitted into it with black bars. `pictures` draws them, and knows what has to be
    hidden.

    What was filmed is kept, whatever ends it. Where the file can grow no more (a full disk) it is finished, `write`
    raises OSError, and the next `write` begins another: NAME-2. A file that may not play, or that an error other than
    Ctrl-C and a lost source ended, is called NAME-unfinished.
    """

    def __init__(self, path: Path, fps: float | None = None, pictures: Pictures | None = None) -> None:
        if path.suffix.lower() not in CODECS:
            raise UsageError(f"cannot write '{path}': expected a name ending in one of {', '.join(CODECS)}.")
        # Absolute, because FFMPEG takes a relative name with a colon in it for the address of a protocol.
        self.path = path.absolute()
        self.name = f"video {path}"
        self._pictures = pictures or Pictures()
        self._fps = fps or _LIVE_FPS
        self._clock = None if fps else _Clock(_LIVE_FPS)
        self._recording: Recording | None = None
        self._finished_one = False

    def __enter__(self) -> VideoSink:
        """See that the file can be written. Raises UsageError."""
        try:
            if self.path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            take_up_leftovers(self.path)
            self._recording = Recording(self.path, self._fps)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {self.path}: {reason}. Choose a file you may write to.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and give it its name. Raises OSError where it does not hold all that was written."""
        recording, self._recording = self._recording, None
        if recording is not None:
            as_wanted = error is None or isinstance(error, (KeyboardInterrupt, SourceError))
            _, wrong = recording.close(self._free_name() if as_wanted else unfinished(self.path))
            if wrong:
                raise OSError(f"{wrong}. Is the disk full?")

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Draw the frame and write it. Raises OSError when the encoder cannot be opened, or the file cannot grow."""
        copies = 1 if self._clock is None else self._clock.copies(frame.captured_at_s)
        if copies == 0:
            return
        shown = self._pictures.of(frame, result)
        if shown is None:
            return
        if self._recording is None:
            self._recording = Recording(self.path, self._fps)
        try:
            self._recording.open(*frame.image_bgr.shape[:2])
            picture = letterboxed(shown, self._recording.width_px, self._recording.height_px)
            self._recording.write(picture, copies)
        except OSError as error:
            raise OSError(f"{error.strerror or error}{self._kept()}") from error

    def _kept(self) -> str:
        """Finish a file that can grow no more; what became of it, to go on a sentence with."""
        recording, self._recording = self._recording, None
        assert recording is not None
        try:
            kept, wrong = recording.close(self._free_name())
        except OSError as error:
            return f"; the recording could not be finished: {error}"
        self._finished_one = self._finished_one or kept is not None
        if kept is None:
            return ""
        return f"; {wrong or f'what was filmed until then is kept as {kept}'}"

    def _free_name(self) -> Path:
        """The name asked for, which replaces a file of an earlier run, but none of this one."""
        if not self._finished_one:
            return self.path
        return next(name for name in numbered(self.path) if not name.exists())


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
