"""The one place where a picture to show or to save is made, so that privacy holds everywhere."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fer_edge.drawing import blur_faces, draw
from fer_edge.frames import Frame, FrameResult

# A picture older than this is not shown in place of a frame the detector did not look at: it would look live.
_OLDEST_S = 5.0


class Pictures:
    """Annotated pictures under one privacy rule: none, blur, or numbers (no picture at all).

    With blur a frame the detector did not look at shows the newest one that it did: a face that came in since is not
    known yet, so it could not be hidden. Several sinks may ask for the same frame; it is drawn once.
    """

    def __init__(self, privacy: str = "none") -> None:
        self.privacy = privacy
        self.forget()

    def forget(self) -> None:
        """Let go of all pictures: the next frame is of another source."""
        self._newest: tuple[Frame, FrameResult] | None = None
        self._drawn_of: Frame | None = None
        self._picture: NDArray[np.uint8] | None = None

    @property
    def read_at_s(self) -> float:
        """When the frame of the newest picture was read, on the clock of time.monotonic(); -inf without one."""
        return float("-inf") if self._drawn_of is None else self._drawn_of.read_at_s

    def see(self, frame: Frame, result: FrameResult) -> None:
        """Take notice of a frame that nobody asks for: it may be the one to show later."""
        if self.privacy == "numbers":
            return
        if self.privacy == "none" or result.detected:
            self._newest = (frame, result)
        elif self._newest is None or not _is_of_now(self._newest[0], frame):
            # Nothing is known of it, so all of it is hidden.
            self._newest = (frame, dataclasses.replace(result, faces=(), unnamed=(), hidden=None))

    def of(self, frame: Frame, result: FrameResult) -> NDArray[np.uint8] | None:
        """The picture (h, w, 3) uint8 to show at `frame`, with what was found drawn in; None where none is allowed."""
        self.see(frame, result)
        if self._newest is None:
            return None
        newest, found = self._newest
        if newest is not self._drawn_of:
            image = blur_faces(newest.image_bgr, found) if self.privacy == "blur" else newest.image_bgr
            self._picture, self._drawn_of = draw(image, found), newest
        return self._picture


def _is_of_now(older: Frame, frame: Frame) -> bool:
    """May the older frame be shown in place of `frame`?"""
    same = older.source == frame.source and older.image_bgr.shape == frame.image_bgr.shape
    return same and 0 <= frame.captured_at_s - older.captured_at_s <= _OLDEST_S
