"""Does anything move, or has the scene changed? Coarse comparisons with the picture the detector saw last."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.regions import Region, region_mask

# The picture as 80 x 60 cells: the mean of a cell hides the sensor's noise, and a face of 32 pixels in 640 is 16 cells.
_COLUMNS, _ROWS = 80, 60
_STEP = 10
_CELLS = 6


class MotionGate:
    """Compares pictures with the last one accepted, so that slow changes add up until they count."""

    def __init__(self, regions: Sequence[Region] = ()) -> None:
        self._mask = region_mask(regions, _COLUMNS, _ROWS)
        self._reference: NDArray[np.int16] | None = None
        self._newest: NDArray[np.int16] | None = None

    def moved(self, image_bgr: NDArray[np.uint8]) -> bool:
        """Does the picture (h, w, 3) differ from the accepted one within the regions? True while there is none."""
        small = cv2.resize(image_bgr, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
        self._newest = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.int16)
        if self._reference is None:
            return True
        changed = np.abs(self._newest - self._reference) > _STEP
        return int(np.count_nonzero(changed & self._mask)) >= _CELLS

    def accept(self) -> None:
        """The detector saw the picture `moved` was asked about last: later ones are compared with it."""
        self._reference = self._newest

    def forget(self) -> None:
        """Reset."""
        self._reference = None


# For cuts the picture is 32 x 24 cells. Two frames of one scene correlate by 0.6 and more, also where the camera
# swings, the light goes down or much noise is in them; frames of two scenes by less than 0.5 in 94 of 100 pairs.
_CUT_COLUMNS, _CUT_ROWS, _SAME_SCENE = 32, 24, 0.5
# Keeps pictures that are all of one grey from being compared by their noise.
_FLAT = 1.0


class CutDetector:
    """Tells the first picture of another scene: a cut in a film, a camera that was turned."""

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None

    def is_cut(self, image_bgr: NDArray[np.uint8]) -> bool:
        """Does the picture (h, w, 3) show another scene than the one before? False for the first."""
        now, before = self._coarse(image_bgr), self._before
        self._before = now
        if before is None:
            return False
        variances = float((now * now).mean()), float((before * before).mean())
        if max(variances) < _FLAT:
            return False
        both = float((now * before).mean())
        return both < _SAME_SCENE * (math.sqrt(variances[0] * variances[1]) + _FLAT / 4)

    def forget(self) -> None:
        """Reset."""
        self._before = None

    @staticmethod
    def _coarse(image_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Differences from the mean grey. A few pixels of each cell are enough."""
        step = max(min(image_bgr.shape[0] // (4 * _CUT_ROWS), image_bgr.shape[1] // (4 * _CUT_COLUMNS)), 1)
        small = cv2.resize(image_bgr[::step, ::step], (_CUT_COLUMNS, _CUT_ROWS), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
        return np.asarray(grey - grey.mean(), dtype=np.float32)
