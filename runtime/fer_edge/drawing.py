"""Drawing results into a picture: boxes, labels, and a small chart of the probabilities."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Box, Face, FrameResult
from fer_edge.tasks import TASKS, TaskSpec

Colour = tuple[int, int, int]

# Okabe and Ito's palette (2008), which colour-blind people can tell apart; as BGR. Keys are the first three letters, so
# that "happy" and "happiness" are one.
_COLOURS: dict[str, Colour] = {
    "ang": (0, 94, 213),
    "con": (0, 159, 230),
    "dis": (115, 158, 0),
    "fea": (167, 121, 204),
    "hap": (66, 228, 240),
    "neu": (205, 205, 205),
    "sad": (178, 114, 0),
    "sur": (233, 180, 86),
}
_WHITE: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# How much of the picture stays visible under a plate.
_PLATE_CLEARNESS = 0.15
# Blocks across a hidden area at most, and the smallest block, in shorter sides of the picture: what is found may be a
# part of a face only.
_BLOCKS, _SMALLEST_BLOCK = 9, 1 / 40
# An area to hide is widened by this much of its longer side: hair and chin are a part of the face.
_WIDEN = 0.35


def colour_of(label: str, labels: Sequence[str] = ()) -> Colour:
    """The fixed BGR colour of a label; one unknown here takes a colour by its place among `labels`."""
    known = _COLOURS.get(label[:3].lower())
    if known is not None:
        return known
    place = list(labels).index(label) if label in labels else 0
    return list(_COLOURS.values())[place % len(_COLOURS)]


def draw(image_bgr: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """A copy of the picture (h, w, 3) uint8 with every face's box, name, confidence or values, and numbers drawn in.

    Sizes follow the picture's height, so that the text can be read at 640x480 and at 1920x1080.
    """
    picture = image_bgr.copy()
    pen = _Pen(picture)
    task = TASKS[result.task]
    for face in result.faces:
        pen.box(face, colour_of(face.expression, task.names(result.labels)))
        pen.chart(face, result.labels, task)
    # Labels last: no neighbour's chart may cover them.
    for face in result.faces:
        pen.label(face, f"{face.expression} {task.strength(face.confidence, face.probabilities)}")
    return picture


def blur_faces(image_bgr: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """A copy of the picture (h, w, 3) uint8 in which all areas that may hold a face are a handful of blocks.

    These are the faces, named or not, and what `result.hidden` adds: faces of a moment ago, and what may be one. Hair
    and chin are included. All of the picture where nothing is known of it.
    """
    picture = image_bgr.copy()
    height, width = picture.shape[:2]
    if result.hidden is None:
        _hide(picture, 0, 0, width, height)
        return picture
    boxes = (*result.hidden, *(face.box_px for face in result.faces), *result.unnamed)
    for left, top, right, bottom in _outermost([_widened(box, width, height) for box in boxes]):
        _hide(picture, left, top, right, bottom)
    return picture


def _widened(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the area that hides a face, in whole pixels inside the picture."""
    margin = _WIDEN * max(box.width_px, box.height_px)
    left, top = math.floor(max(box.left_px - margin, 0)), math.floor(max(box.top_px - margin, 0))
    right = math.ceil(min(box.left_px + box.width_px + margin, width))
    return left, top, right, math.ceil(min(box.top_px + box.height_px + margin, height))


def _outermost(areas: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """The areas that are not empty and lie in no other."""
    areas = [area for area in dict.fromkeys(areas) if area[0] < area[2] and area[1] < area[3]]

    def lies_in(inner: tuple[int, int, int, int], outer: tuple[int, int, int, int]) -> bool:
        return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]

    return [area for area in areas if not any(lies_in(area, other) for other in areas if other != area)]


def _hide(picture: NDArray[np.uint8], left: int, top: int, right: int, bottom: int) -> None:
    """Make an area of the picture a handful of blocks. Their averages cannot be undone, as a Gaussian partly can."""
    part = picture[top:bottom, left:right]
    block_px = max(min(picture.shape[:2]) * _SMALLEST_BLOCK, 1)
    columns, rows = (max(min(_BLOCKS, int(side / block_px)), 1) for side in (right - left, bottom - top))
    blocks = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    part[:] = cv2.resize(blocks, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)


class _Pen:
    """Draws into one picture at one scale."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self._picture = picture
        self._height_px, self._width_px = picture.shape[:2]
        self._scale = max(0.5, min(self._height_px, self._width_px) / 480)
        self._line_px = max(1, round(2 * self._scale))

    def box(self, face: Face, colour: Colour) -> None:
        """The face's rectangle, with a dark edge so that it shows on a background of its own colour."""
        left, top, right, bottom = _corners(face)
        for shade, width in (((0, 0, 0), self._line_px + 2), (colour, self._line_px)):
            cv2.rectangle(self._picture, (left, top), (right, bottom), shade, width, cv2.LINE_AA)

    def label(self, face: Face, text: str) -> None:
        """A plate above the box, or inside it where there is no room above."""
        left, top, _, _ = _corners(face)
        size = 0.55 * self._scale
        pad = max(2, round(4 * self._scale))
        (text_w, text_h), base = cv2.getTextSize(text, _FONT, size, self._weight(size))
        width, height = text_w + 2 * pad, text_h + base + pad
        x = _clamp(left - self._line_px // 2, self._width_px - width)
        y = top - height if top >= height else top + self._line_px
        y = _clamp(y, self._height_px - height)
        self._plate(x, y, width, height)
        self._text(text, x + pad, y + pad // 2 + text_h, size)

    def chart(self, face: Face, labels: tuple[str, ...], task: TaskSpec) -> None:
        """A bar for every label, from the zero of its scale, beside the box where there is room, else over its edge."""
        size = 0.4 * self._scale
        pad, bar_px = max(2, round(4 * self._scale)), round(46 * self._scale)
        row_px = round(14 * self._scale)
        name_px = max((cv2.getTextSize(label, _FONT, size, 1)[0][0] for label in labels), default=0)
        width, height = name_px + bar_px + 3 * pad, row_px * len(labels) + pad
        if not labels or width > self._width_px or height > self._height_px:
            return
        x, y = self._beside(face, width, height)
        self._plate(x, y, width, height)
        for row, (label, value) in enumerate(zip(labels, face.probabilities, strict=False)):
            base_y = y + pad // 2 + row_px * (row + 1) - round(4 * self._scale)
            self._text(label, x + pad, base_y, size)
            bar_x = x + name_px + 2 * pad
            zero, end = (
                bar_x + round(bar_px * (min(max(place, task.low), task.high) - task.low) / (task.high - task.low))
                for place in (0.0, value)
            )
            top = base_y - round(7 * self._scale)
            cv2.rectangle(self._picture, (zero, top), (end, base_y), colour_of(label, labels), -1)

    def _beside(self, face: Face, width: int, height: int) -> tuple[int, int]:
        left, top, right, _ = _corners(face)
        gap = self._line_px + 2
        x = right + gap
        if x + width > self._width_px:
            x = left - gap - width if left - gap - width >= 0 else self._width_px - width
        return _clamp(x, self._width_px - width), _clamp(top, self._height_px - height)

    def _plate(self, x: int, y: int, width: int, height: int) -> None:
        """Darken a rectangle, so that text on it can be read whatever lies below."""
        part = self._picture[max(0, y) : y + height, max(0, x) : x + width]
        part[:] = (part * _PLATE_CLEARNESS).astype(np.uint8)

    def _text(self, text: str, x: int, y: int, size: float) -> None:
        cv2.putText(self._picture, text, (x, y), _FONT, size, _WHITE, self._weight(size), cv2.LINE_AA)

    def _weight(self, size: float) -> int:
        return max(1, round(1.6 * size))


def _corners(face: Face) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels."""
    box = face.box_px
    edges = (box.left_px, box.top_px, box.left_px + box.width_px, box.top_px + box.height_px)
    left, top, right, bottom = (round(float(edge)) for edge in edges)
    return left, top, right, bottom


def _clamp(value: int, most: int) -> int:
    """`value`, but in 0..most; 0 when there is no such place."""
    return max(0, min(value, most))
