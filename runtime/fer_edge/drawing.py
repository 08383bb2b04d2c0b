"""Drawing results into a picture: boxes, labels, and a small chart of the probabilities."""

import math
import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.colours import Colour, colour_of
from fer_edge.frames import Box, Face, FrameResult
from fer_edge.tasks import TASKS, VALUES, TaskSpec

_WHITE: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV 5 has a font for most scripts; before, putText knows ASCII alone.
_ASCII_ALONE = int(cv2.__version__.partition(".")[0]) < 5
_SPELT = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i"})
# More labels than fit beside a face: the chart shows those with the greatest numbers.
_MOST_BARS = 10
# How much of the picture stays visible under a plate.
_PLATE_CLEARNESS = 0.15
# Blocks across a hidden area at most, and the smallest block, in shorter sides of the picture: what is found may be a
# part of a face only.
_BLOCKS, _SMALLEST_BLOCK = 9, 1 / 40
# An area to hide is widened by this much of its longer side: hair and chin are a part of the face.
_WIDEN = 0.35


def draw(image_bgr: NDArray[np.uint8], result: FrameResult) -> NDArray[np.uint8]:
    """A copy of the picture (h, w, 3) uint8 with every face's box, name, confidence or values, and numbers drawn in.

    Sizes follow the picture's height, so that the text can be read at 640x480 and at 1920x1080.
    """
    picture = image_bgr.copy()
    pen = _Pen(picture)
    task = TASKS[result.task]
    for face in result.faces:
        pen.box(face, colour_of(face.names[0], task.names(result.labels)))
        pen.chart(face, result.labels, task)
    # Labels last: no neighbour's chart may cover them.
    for face in result.faces:
        pen.label(face, face.expression, task.strength(face.confidence, face.probabilities))
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

    def label(self, face: Face, name: str, strength: str) -> None:
        """A plate above the box, or inside it where there is no room above. A name too long for the picture is cut."""
        left, top, _, _ = _corners(face)
        size = 0.55 * self._scale
        pad = max(2, round(4 * self._scale))
        room_px = self._width_px - 2 * pad - self._text_px(f" {strength}", size)
        text = f"{self._cut(drawable(name, face.labels), size, room_px)} {strength}"
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
        rows = _charted(face, labels)
        names = {label: self._cut(drawable(label, labels), size, self._width_px // 4) for label, _ in rows}
        name_px = max((self._text_px(name, size) for name in names.values()), default=0)
        width, height = name_px + bar_px + 3 * pad, row_px * len(rows) + pad
        if not rows or width > self._width_px or height > self._height_px:
            return
        x, y = self._beside(face, width, height)
        self._plate(x, y, width, height)
        colours = labels if task.kind == VALUES else task.names(labels)
        for row, (label, value) in enumerate(rows):
            base_y = y + pad // 2 + row_px * (row + 1) - round(4 * self._scale)
            self._text(names[label], x + pad, base_y, size)
            zero, end = (x + name_px + 2 * pad + round(bar_px * _share(place, task)) for place in (0.0, value))
            top = base_y - round(7 * self._scale)
            cv2.rectangle(self._picture, (zero, top), (end, base_y), colour_of(label, colours), -1)

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

    def _text_px(self, text: str, size: float) -> int:
        """The width of a text."""
        return int(cv2.getTextSize(text, _FONT, size, self._weight(size))[0][0])

    def _cut(self, text: str, size: float, room_px: int) -> str:
        """The text, or what fits of it with dots behind."""
        if self._text_px(text, size) <= room_px:
            return text
        fits = (text[:length] for length in range(len(text) - 1, 0, -1))
        return next((f"{cut}..." for cut in fits if self._text_px(f"{cut}...", size) <= room_px), "...")

    def _weight(self, size: float) -> int:
        return max(1, round(1.6 * size))


def drawable(text: str, labels: tuple[str, ...] = (), *, ascii_alone: bool = _ASCII_ALONE) -> str:
    """`text` in characters that OpenCV can draw: without accents where its font is ASCII alone.

    One of another script is then drawn as its number among `labels`, from 1, such as "label 3".
    """
    if not ascii_alone or text.isascii():
        return text
    plain = "".join(one for one in unicodedata.normalize("NFKD", text.translate(_SPELT)) if ord(one) < 128).strip()
    lost = sum(not unicodedata.combining(one) for one in unicodedata.normalize("NFKD", text)) - len(plain)
    if lost <= len(text) // 3 and plain:
        return plain
    return f"label {labels.index(text) + 1}" if text in labels else "".join(c if ord(c) < 128 else "?" for c in text)


def _charted(face: Face, labels: tuple[str, ...]) -> list[tuple[str, float]]:
    """The labels of a chart with their numbers: all of them, or the greatest where they are many, greatest first."""
    rows = list(zip(labels, face.probabilities, strict=False))
    return rows if len(rows) <= _MOST_BARS else sorted(rows, key=lambda row: -row[1])[: _MOST_BARS - 2]


def _share(value: float, task: TaskSpec) -> float:
    """Where a number lies on the task's scale, 0 to 1."""
    return (min(max(value, task.low), task.high) - task.low) / (task.high - task.low)


def _corners(face: Face) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in whole pixels."""
    box = face.box_px
    edges = (box.left_px, box.top_px, box.left_px + box.width_px, box.top_px + box.height_px)
    left, top, right, bottom = (round(float(edge)) for edge in edges)
    return left, top, right, bottom


def _clamp(value: int, most: int) -> int:
    """`value`, but in 0..most; 0 when there is no such place."""
    return max(0, min(value, most))
