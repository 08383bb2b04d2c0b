"""The one place where a picture to show or to save is made, so that privacy holds everywhere."""

import numpy as np
from numpy.typing import NDArray

from fer_edge.drawing import blur_faces, draw
from fer_edge.frames import Frame, FrameResult


class Pictures:
    """Annotated pictures under one privacy rule: none, blur, or numbers (no picture at all).

    Several sinks may ask for the same frame; it is drawn once.
    """

    def __init__(self, privacy: str = "none") -> None:
        self.privacy = privacy
        self._of: Frame | None = None
        self._picture: NDArray[np.uint8] | None = None

    def of(self, frame: Frame, result: FrameResult) -> NDArray[np.uint8] | None:
        """The frame (h, w, 3) uint8 with what was found drawn in; None where there is nothing to show.

        With blur, a frame the detector did not look at shows the last one it did: a face that came in since has no box
        yet, so it could not be hidden.
        """
        if self.privacy == "numbers":
            return None
        if self.privacy == "blur" and not result.detected:
            return self._picture
        if frame is not self._of:
            image = blur_faces(frame.image_bgr, result) if self.privacy == "blur" else frame.image_bgr
            self._picture = draw(image, result)
            self._of = frame
        return self._picture
