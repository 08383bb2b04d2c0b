"""When the detector runs: each N-th frame, or where something moves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_edge.arguments import ON_MOTION
from fer_edge.motion import MotionGate
from fer_edge.regions import Region

# Where nothing moves, the detector looks all the same this often: somebody may have come or gone so slowly, or in so
# little light, that no motion was seen.
_CONFIRM_FRAMES, _CONFIRM_S = 30, 3.0


class DetectionSchedule:
    """Says for every frame whether the detector shall look at it.

    `when` is the number of frames from one look to the next, or ON_MOTION. `stretch` multiplies that number where the
    board is too slow for it; a rate governor sets it.
    """

    def __init__(self, when: int = 1, regions: Sequence[Region] = ()) -> None:
        self._every = max(when, 1)
        self._gate = MotionGate(regions) if when == ON_MOTION else None
        self._since: int | None = None
        self._time_s = self._looked_at_s = 0.0
        self.stretch = 1
        self.still = False
        """Nothing moved in the picture `due` was asked about last."""

    def due(self, image_bgr: NDArray[np.uint8], time_s: float) -> bool:
        """Shall the detector look at this picture (h, w, 3) of `time_s`, in seconds of its source?"""
        self._time_s = time_s
        moved = self._gate is None or self._gate.moved(image_bgr)
        self.still = not moved
        if self._since is None:
            return True
        self._since += 1
        long_ago = self._since >= _CONFIRM_FRAMES or abs(time_s - self._looked_at_s) >= _CONFIRM_S
        return (moved or long_ago) and self._since >= self._every * self.stretch

    @property
    def waited_frames(self) -> int:
        """Frames since the detector looked."""
        return self._since or 0

    def done(self) -> None:
        """The detector looked at the picture `due` was asked about last."""
        self._since, self._looked_at_s = 0, self._time_s
        if self._gate is not None:
            self._gate.accept()

    def forget(self) -> None:
        """Reset: the next picture is looked at."""
        self._since = None
        if self._gate is not None:
            self._gate.forget()
