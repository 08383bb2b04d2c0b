"""Recall of a detector on the scenes: recall by size and change, and false boxes, at any threshold.

Detectors differ in what they call a face: MediaPipe's boxes are square and reach lower than YuNet's. So each one's
habit, the median shift and stretch of its boxes on large faces, is taken out before boxes are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Box
from fer_edge.tracker import intersection_over_union

from boards.detectors.scenes import CHANGES, EMPTY, BenchScene

BUCKETS_PX = (10, 20, 28, 40, 56, 80, 128, 260)
"""Edges of the sizes, in pixels of the frame: the root of a face's area."""
HIT_IOU = 0.5
_HABIT_IOU, _LARGE_PX = 0.3, 56


@dataclass(frozen=True)
class Truth:
    """A scene without its picture: what is compared with a detector's boxes."""

    change: str
    faces: tuple[Box, ...]
    ignored: tuple[Box, ...]

    @classmethod
    def of(cls, scene: BenchScene) -> "Truth":
        """The faces of a scene."""
        return cls(scene.change, scene.faces, scene.ignored)


@dataclass(frozen=True)
class Found:
    """A box with its score, in pixels of the frame."""

    box: Box
    score: float


@dataclass(frozen=True)
class Habit:
    """How a detector's boxes differ from the truth: a shift in sizes of its box, and a stretch."""

    right: float = 0.0
    down: float = 0.0
    wider: float = 1.0
    higher: float = 1.0

    def without(self, box: Box) -> Box:
        """The box as the truth has it."""
        x = box.left_px + box.width_px * (0.5 + self.right)
        y = box.top_px + box.height_px * (0.5 + self.down)
        width, height = box.width_px * self.wider, box.height_px * self.higher
        return Box(x - width / 2, y - height / 2, width, height)


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.hits / self.of if self.of else None


@dataclass(frozen=True)
class Recall:
    """Faces found of each size (without changes) and under each change, and false boxes."""

    by_size: tuple[Share, ...]
    by_change: dict[str, Share]
    false_on_empty: int
    false_with_faces: int
    empty_scenes: int

    @property
    def false_per_1000(self) -> float:
        """False boxes in a thousand scenes without a face."""
        return 1000 * self.false_on_empty / max(self.empty_scenes, 1)


def habit_of(found: Sequence[Sequence[Found]], truths: Sequence[Truth]) -> Habit:
    """The habit seen on large faces of scenes without a change; none where no such face was found."""
    rows = []
    for boxes, truth in zip(found, truths, strict=True):
        for face in truth.faces if truth.change == CHANGES[0] else ():
            best = max(boxes, key=lambda one: intersection_over_union(one.box, face), default=None)
            if best is None or intersection_over_union(best.box, face) < _HABIT_IOU or side_px(face) < _LARGE_PX:
                continue
            box = best.box
            right = (face.left_px + face.width_px / 2 - box.left_px - box.width_px / 2) / box.width_px
            down = (face.top_px + face.height_px / 2 - box.top_px - box.height_px / 2) / box.height_px
            rows.append((right, down, face.width_px / box.width_px, face.height_px / box.height_px))
    return Habit(*(float(value) for value in np.median(rows, axis=0))) if rows else Habit()


def side_px(box: Box) -> float:
    """The root of a box's area."""
    return float(np.sqrt(box.width_px * box.height_px))


def recall_of(found: Sequence[Sequence[Found]], truths: Sequence[Truth], threshold: float, habit: Habit) -> Recall:
    """Compare a detector's boxes with the truth, scene by scene."""
    sizes, hits = [], []
    by_change = {change: [0, 0] for change in CHANGES[1:]}
    false = {True: 0, False: 0}
    for all_boxes, truth in zip(found, truths, strict=True):
        boxes = [habit.without(one.box) for one in all_boxes if one.score >= threshold]
        hit = _hits(boxes, truth.faces)
        false[truth.change == EMPTY] += _false(boxes, (*truth.faces, *truth.ignored))
        if truth.change == CHANGES[0]:
            sizes += [side_px(face) for face in truth.faces]
            hits += hit.tolist()
        elif truth.change in by_change:
            by_change[truth.change][0] += int(hit.sum())
            by_change[truth.change][1] += len(hit)
    bucket = np.searchsorted(BUCKETS_PX, sizes, side="right") - 1
    by_size = tuple(
        Share(int(np.sum(np.array(hits)[bucket == number])), int(np.sum(bucket == number)))
        for number in range(len(BUCKETS_PX) - 1)
    )
    shares = {change: Share(*counts) for change, counts in by_change.items()}
    return Recall(by_size, shares, false[True], false[False], sum(truth.change == EMPTY for truth in truths))


def _hits(boxes: Sequence[Box], faces: Sequence[Box]) -> NDArray[np.bool_]:
    return np.array([any(intersection_over_union(box, face) >= HIT_IOU for box in boxes) for face in faces], np.bool_)


def _false(boxes: Sequence[Box], known: Sequence[Box]) -> int:
    """Boxes that touch no known face by a fifth."""
    return sum(not any(intersection_over_union(box, face) >= 0.2 for face in known) for box in boxes)
