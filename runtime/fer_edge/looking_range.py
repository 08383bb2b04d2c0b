"""How far the detector looks: on how large a canvas it looks at the whole picture.

A larger canvas finds smaller faces, for as many times the work as it has pixels.
"""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from fer_edge.frames import Box

NEAR, FAR, AUTO = "near", "far", "auto"
SIDES_PX = {NEAR: 192, FAR: 320}
"""Longer side of the canvas, by name of the range."""
_STEPS_PX = (192, 224, 256, 320)
# On the canvas the smallest face shall be as large as this: of smaller ones more than one in twenty is missed.
_ENOUGH_PX = 18.0
# For how long the smallest face counts, in how many parts; and every which look is a far one, to find smaller faces.
_MEMORY_S, _PART_S = 120.0, 10.0
_FAR_EACH = 5


class LookingRange(Protocol):
    """Chooses the canvas of each look at a whole picture."""

    is_pressed: bool
    """The board is too slow for the rate asked for; a rate governor sets it."""

    def next_side_px(self) -> int:
        """The longer side of the canvas for the next look."""
        ...

    def note(self, faces: Iterable[Box], picture_px: int, time_s: float) -> None:
        """Faces were seen in a picture with a longer side of `picture_px` at `time_s`, in seconds of its source."""
        ...

    def forget(self) -> None:
        """The next picture has nothing to do with those before."""
        ...


class FixedRange:
    """The same canvas for every look. See `LookingRange`."""

    def __init__(self, side_px: int) -> None:
        self.is_pressed = False
        self._side_px = side_px

    def next_side_px(self) -> int:
        """The side it was made with."""
        return self._side_px

    def note(self, faces: Iterable[Box], picture_px: int, time_s: float) -> None:
        """Nothing changes."""

    def forget(self) -> None:
        """Nothing to forget."""


class AutoRange:
    """As far as the smallest face of the last two minutes asks for; far where none was seen. See `LookingRange`.

    Where the board is too slow, near. Either way every fifth look is a far one: it finds faces that are smaller yet.
    """

    def __init__(self) -> None:
        self.is_pressed = False
        self._smallest: deque[tuple[float, float]] = deque()
        self._looks = 0

    def next_side_px(self) -> int:
        """The side for the smallest face, or the far one."""
        self._looks += 1
        if self._looks % _FAR_EACH == 1:
            return SIDES_PX[FAR]
        return SIDES_PX[NEAR] if self.is_pressed else self._asked_px()

    def _asked_px(self) -> int:
        if not self._smallest:
            return SIDES_PX[FAR]
        part = min(part for _, part in self._smallest)
        return next((side for side in _STEPS_PX if side * part >= _ENOUGH_PX), SIDES_PX[FAR])

    def note(self, faces: Iterable[Box], picture_px: int, time_s: float) -> None:
        """Remember the smallest face, as a part of the picture's side, for every ten seconds."""
        parts = [max(box.width_px, box.height_px) / picture_px for box in faces]
        if self._smallest and not 0 <= time_s - self._smallest[0][0] <= _MEMORY_S:
            self._drop_old(time_s)
        if not parts:
            return
        smallest = min(parts)
        if self._smallest and time_s - self._smallest[-1][0] < _PART_S:
            began_s, before = self._smallest[-1]
            self._smallest[-1] = (began_s, min(before, smallest))
        else:
            self._smallest.append((time_s, smallest))

    def _drop_old(self, time_s: float) -> None:
        kept = [(began_s, part) for began_s, part in self._smallest if 0 <= time_s - began_s <= _MEMORY_S]
        self._smallest = deque(kept)

    def forget(self) -> None:
        """Reset, with a far look."""
        self._smallest.clear()
        self._looks = 0


def range_of(choice: str | int) -> LookingRange:
    """The range for a setting: NEAR, FAR, AUTO or the longer side in pixels."""
    if choice == AUTO:
        return AutoRange()
    return FixedRange(SIDES_PX[choice] if isinstance(choice, str) else choice)
