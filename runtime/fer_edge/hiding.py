"""Where in a picture a face may be: what `--privacy blur` hides.

A detector misses faces that turn away, dim or are partly covered, for a moment or for seconds. So an area in which a
face was seen stays hidden after it was seen last: it moves on as the face did, and grows with time. What the detector
only suspects to be a face is hidden as well, and forgotten sooner. At the start of a scene nothing is shown for a
moment, because a face may not be found in its first frames.

An area is never given up for another: a detection belongs to it only where the face may have moved there and has about
the same size. Otherwise both are hidden, because there may be two people.
"""

import dataclasses
import math
from collections.abc import Sequence

from fer_edge.frames import Box, Detection
from fer_edge.tracker import intersection_over_union

# From this score on a detection is taken for a face.
_SURE_SCORE = 0.5
# How long a face is remembered that is seen no more, and for how many looks of the detector at least.
_MEMORY_S, _MEMORY_LOOKS = 3.0, 5
# The same of what may be a face. Each time that it is seen again, it is remembered for that much longer.
_FAINT_MEMORY_S, _FAINT_MEMORY_LOOKS = 0.25, 1
# An area grows to all sides by this part of its longer side in a second, and moves on for a while.
_GROWTH_PER_S, _MOST_GROWTH, _MOVES_ON_S = 0.25, 0.5, 1.0
# The times in which an area shrinks (to 1/e) onto smaller detections, sure ones and faint ones.
_SHRINKS_S, _FAINT_SHRINKS_S = 0.5, 4.0
# A speed is averaged over this time: detectors' boxes tremble from frame to frame.
_SPEED_OVER_S = 0.25
# A face does not become smaller than this part of its size, or larger than its inverse, from one look to the next.
_SIMILAR = 0.5
# A face that was missed may be one found as far away as this, in longer sides of its box.
_JUMP = 2.0
# With more areas than this the detector sees faces everywhere, and nothing of the picture is shown.
_MOST_AREAS = 64
# The start of a scene is hidden for so long, and for so many looks. One that was shorter than _SCENE_S and _SCENE_LOOKS
# was none: a camera that swings all the time must not hide its picture for ever.
_START_S, _START_LOOKS = 0.25, 2
_SCENE_S, _SCENE_LOOKS = 1.0, 5
# What passes between two looks where the source's clock stands still or goes back, and the most that counts.
_LOOK_S, _LONG_S = 1 / 30, 60.0


class HiddenAreas:
    """Remembers where faces were in the pictures of one source. Tell it of every picture the detector looked at."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The next picture has nothing to do with those before."""
        self._areas: list[_Area] = []
        self._time_s = math.inf
        self._scene_s, self._scene_looks = 0.0, 0

    def update(
        self, found: Sequence[Detection], time_s: float, *, cut: bool = False, alone: bool = False
    ) -> tuple[Box, ...] | None:
        """The boxes to hide in a picture of `time_s`, in pixels of `found`; None for the whole picture.

        `found` is all that the detector found in it, faint detections included. `cut` says that it shows another scene
        than the one before, `alone` that it is a photograph, of which no more will be known.
        """
        elapsed_s = self._elapsed_s(time_s)
        self._count(elapsed_s, cut)
        for area in self._areas:
            area.wait(elapsed_s)
        if len(found) <= _MOST_AREAS:
            self._take(found)
        self._areas = [area for area in self._areas if not area.forgotten]
        if max(len(self._areas), len(found)) > _MOST_AREAS or not (alone or self._has_started):
            return None
        return tuple(area.reach for area in self._areas)

    def _elapsed_s(self, time_s: float) -> float:
        """The time since the last look, but for a source whose clock stands still, goes back or is none."""
        before_s, self._time_s = self._time_s, time_s
        return min(time_s - before_s, _LONG_S) if time_s > before_s else _LOOK_S

    @property
    def _has_started(self) -> bool:
        return self._scene_s >= _START_S and self._scene_looks >= _START_LOOKS

    def _count(self, elapsed_s: float, cut: bool) -> None:
        """How long the scene lasts. What was hidden in the one before stays hidden: the cut may be a flash of light."""
        if cut and self._scene_s >= _SCENE_S and self._scene_looks >= _SCENE_LOOKS:
            self._scene_s, self._scene_looks = 0.0, 0
        elif self._scene_looks:
            self._scene_s += elapsed_s
        self._scene_looks += 1

    def _take(self, found: Sequence[Detection]) -> None:
        matched = _matched(found, self._areas)
        for number, area in matched.items():
            area.see(found[number])
        missed = [area for area in self._areas if area.missed_now]
        for number, detection in enumerate(found):
            if number not in matched:
                self._areas.append(_Area(detection, _speed_of_jump(missed, detection.box)))


class _Area:
    """Where a face was seen, how fast it moved, and how long ago that was."""

    def __init__(self, first: Detection, velocity: tuple[float, float] = (0.0, 0.0)) -> None:
        self.seen = first.box
        self._box = self.path = self.reach = first.box
        self._velocity = velocity  # of the centre, px/s
        self.unseen_s, self._unseen_looks, self._measured_s = 0.0, 0, 0.0
        self._memory_s, self._memory_looks = _memory_of(first)

    @property
    def missed_now(self) -> bool:
        """Was it seen by the last look, and not by this one?"""
        return self._unseen_looks == 1

    @property
    def forgotten(self) -> bool:
        """Is it too long ago that it was seen?"""
        return self.unseen_s > self._memory_s and self._unseen_looks > self._memory_looks

    def wait(self, elapsed_s: float) -> None:
        """The detector looked again, `elapsed_s` later."""
        self.unseen_s += elapsed_s
        self._unseen_looks += 1
        moving_s = min(self.unseen_s, _MOVES_ON_S)
        self.path = _union(self._box, _moved(self._box, *(speed * moving_s for speed in self._velocity)))
        self.reach = _widened(self.path, min(_GROWTH_PER_S * self.unseen_s, _MOST_GROWTH) * _side(self._box))

    def see(self, found: Detection) -> None:
        """A face was found here, or once more what may be one."""
        moved = _moved(self._box, *self._measure_speed(found.box))
        if found.score >= _SURE_SCORE:  # that is where the face is, and the area moves along
            before, shrinks_s = moved, _SHRINKS_S
        else:  # there still is something, but the box may be that of a part
            before, shrinks_s = self._box, _FAINT_SHRINKS_S
        shrunk = 1 - math.exp(-self.unseen_s / shrinks_s)
        self._box = self.path = self.reach = _towards(_union(before, found.box), found.box, shrunk)
        memory_s, memory_looks = _memory_of(found)
        self._memory_s = min(max(self._memory_s + _FAINT_MEMORY_S, memory_s), _MEMORY_S)
        self._memory_looks = max(self._memory_looks, memory_looks)
        self.seen, self.unseen_s, self._unseen_looks = found.box, 0.0, 0

    def _measure_speed(self, box: Box) -> tuple[float, float]:
        """Take a new place into the average; how far it is from the last one, in px."""
        x_px, y_px = _displacement(self.seen, box)
        self._measured_s += self.unseen_s
        weight = self.unseen_s / min(self._measured_s, self.unseen_s + _SPEED_OVER_S)
        x, y = self._velocity
        self._velocity = (x + weight * (x_px / self.unseen_s - x), y + weight * (y_px / self.unseen_s - y))
        return x_px, y_px


def _memory_of(found: Detection) -> tuple[float, int]:
    """For how many seconds, and how many looks at least, a face is remembered that was seen once."""
    return (_MEMORY_S, _MEMORY_LOOKS) if found.score >= _SURE_SCORE else (_FAINT_MEMORY_S, _FAINT_MEMORY_LOOKS)


def _matched(found: Sequence[Detection], areas: Sequence[_Area]) -> dict[int, _Area]:
    """By the number of a detection, the area whose face it may be: the best overlaps first, each area once."""
    pairs = (
        (intersection_over_union(area.path, detection.box), number, place)
        for place, area in enumerate(areas)
        for number, detection in enumerate(found)
        if _holds(area.path, detection.box) and _SIMILAR <= _side(detection.box) / _side(area.seen) <= 1 / _SIMILAR
    )
    matched: dict[int, _Area] = {}
    taken: set[int] = set()
    for _, number, place in sorted(pairs, reverse=True):
        if number not in matched and place not in taken:
            matched[number] = areas[place]
            taken.add(place)
    return matched


def _speed_of_jump(missed: Sequence[_Area], box: Box) -> tuple[float, float]:
    """The speed of a face found at `box` for the first time, in px/s, if it is the nearest of those just missed."""
    jumps = [(_displacement(area.seen, box), area) for area in missed]
    near = [(math.hypot(*px), px, area.unseen_s) for px, area in jumps if math.hypot(*px) <= _JUMP * _side(area.seen)]
    if not near:
        return 0.0, 0.0
    _, (x_px, y_px), elapsed_s = min(near)
    return x_px / elapsed_s, y_px / elapsed_s


def _side(box: Box) -> float:
    return max(box.width_px, box.height_px)


def _displacement(start: Box, end: Box) -> tuple[float, float]:
    """From centre to centre."""
    x_px = end.left_px - start.left_px + (end.width_px - start.width_px) / 2
    return x_px, end.top_px - start.top_px + (end.height_px - start.height_px) / 2


def _holds(outer: Box, box: Box) -> bool:
    """Does the centre of `box` lie in `outer`?"""
    x_px, y_px = _displacement(outer, box)
    return abs(x_px) <= outer.width_px / 2 and abs(y_px) <= outer.height_px / 2


def _moved(box: Box, x_px: float, y_px: float) -> Box:
    return Box(box.left_px + x_px, box.top_px + y_px, box.width_px, box.height_px)


def _widened(box: Box, margin_px: float) -> Box:
    return Box(
        box.left_px - margin_px, box.top_px - margin_px, box.width_px + 2 * margin_px, box.height_px + 2 * margin_px
    )


def _union(first: Box, second: Box) -> Box:
    left, top = min(first.left_px, second.left_px), min(first.top_px, second.top_px)
    right = max(first.left_px + first.width_px, second.left_px + second.width_px)
    bottom = max(first.top_px + first.height_px, second.top_px + second.height_px)
    return Box(left, top, right - left, bottom - top)


def _towards(start: Box, end: Box, part: float) -> Box:
    """`start` and, the nearer `part` is to 1, `end`."""
    edges = zip(dataclasses.astuple(start), dataclasses.astuple(end), strict=True)
    return Box(*(old + part * (new - old) for old, new in edges))
