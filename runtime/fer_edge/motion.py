"""Does anything move? A coarse comparison with the picture the detector saw last."""

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
        """Begin anew."""
        self._reference = None
