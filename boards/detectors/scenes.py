"""Scenes of 640x480 for detectors: photographs whose faces are known at every size, changed, and scenes without faces.

A face of truth.csv that is not certain, that the frame cuts, or that is smaller than counts, is expected of nobody and
held against nobody.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import read_csv
from fer_edge.frames import Box

TRUTH = Path(__file__).parent / "truth.csv"
WIDTH_PX, HEIGHT_PX = 640, 480
SIZES_PX = (14, 24, 33, 48, 66, 100, 160)
CHANGES = ("none", "turned 15", "turned 30", "dark", "blurred", "jpeg", "cut")
EMPTY = "empty"
CERTAIN = "certain"
_CHANGED_PX = (40.0, 120.0)
_LONGEST_PX = 1280
_SMALLEST_PX = 10.0
# Faces larger than their photograph shows them would be faces out of focus.
_MOST_ENLARGED = 1.3
_INSIDE, _INSIDE_CUT, _NOWHERE = 0.9, 0.6, 0.02

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class KnownFace:
    """A face of a photograph in its own pixels. Field order is the column order of truth.csv."""

    picture: str
    left_px: float
    top_px: float
    width_px: float
    height_px: float
    state: Literal["certain", "doubtful"]

    @property
    def box(self) -> Box:
        """Where it is."""
        return Box(self.left_px, self.top_px, self.width_px, self.height_px)


@dataclass(frozen=True, eq=False)
class Photograph:
    """A photograph (h, w, 3) uint8 BGR, at most 1280 pixels long, with the faces known in it."""

    name: str
    image_bgr: Picture
    faces: tuple[KnownFace, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchScene:
    """One frame (480, 640, 3) uint8 BGR; `faces` are to be found, `ignored` may be."""

    image_bgr: Picture
    picture: str
    change: str
    faces: tuple[Box, ...] = ()
    ignored: tuple[Box, ...] = ()


def known_faces(path: Path = TRUTH) -> list[KnownFace]:
    """The rows of truth.csv. Raises DataError."""
    return read_csv(path, KnownFace)


def photograph(name: str, path: Path, faces: Sequence[KnownFace] = ()) -> Photograph:
    """Read a photograph and shrink it, with its faces, to what scenes need."""
    image = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
    shrink = min(_LONGEST_PX / max(image.shape[:2]), 1.0)
    if shrink < 1:
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mine = (one for one in faces if one.picture == name)
    return Photograph(name, image, tuple(_shrunk(one, shrink) for one in mine))


def _shrunk(face: KnownFace, factor: float) -> KnownFace:
    edges = (face.left_px * factor, face.top_px * factor, face.width_px * factor, face.height_px * factor)
    return KnownFace(face.picture, *edges, face.state)


def scenes_with_faces(
    photographs: Sequence[Photograph], backgrounds: Sequence[Photograph], repeats: int
) -> Iterator[BenchScene]:
    """Every photograph `repeats` times at every size of SIZES_PX, and under every change."""
    random = np.random.default_rng(0)
    for one in photographs:
        certain = [face for face in one.faces if face.state == CERTAIN]
        for _ in range(repeats):
            low, high = _CHANGED_PX
            changed = [(float(random.uniform(low, high)), change) for change in CHANGES[1:]]
            for size_px, change in [*((float(size), CHANGES[0]) for size in SIZES_PX), *changed]:
                face = certain[int(random.integers(len(certain)))]
                ground = backgrounds[int(random.integers(len(backgrounds)))]
                if size_px <= _side(face.box) * _MOST_ENLARGED:
                    yield _Placement(one, face, size_px, change, random).scene(_filled(ground, random))


def scenes_without_faces(backgrounds: Sequence[Photograph], count: int) -> Iterator[BenchScene]:
    """Random parts of the backgrounds, mirrored every second time."""
    random = np.random.default_rng(1)
    for number in range(count):
        ground = backgrounds[number % len(backgrounds)]
        image = _filled(ground, random)
        yield BenchScene(image[:, ::-1].copy() if number % 2 else image, ground.name, EMPTY)


def _filled(ground: Photograph, random: np.random.Generator) -> Picture:
    """A random part of a picture, as large as a frame."""
    image = ground.image_bgr
    scale = max(WIDTH_PX / image.shape[1], HEIGHT_PX / image.shape[0]) * random.uniform(1.0, 1.6)
    size = (math.ceil(image.shape[1] * scale), math.ceil(image.shape[0] * scale))
    large = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = random.integers(size[0] - WIDTH_PX + 1), random.integers(size[1] - HEIGHT_PX + 1)
    return np.asarray(large[top : top + HEIGHT_PX, left : left + WIDTH_PX], dtype=np.uint8).copy()


class _Placement:
    """A photograph laid into a frame so that one of its faces is `size_px` large."""

    def __init__(
        self, shown: Photograph, face: KnownFace, size_px: float, change: str, random: np.random.Generator
    ) -> None:
        self._shown, self._face, self._size_px, self._change, self._random = shown, face, size_px, change, random
        self._scale = size_px / _side(face.box)
        angle = {"turned 15": 15, "turned 30": 30}.get(change, 0) * (1 if random.random() < 0.5 else -1)
        turn = cv2.getRotationMatrix2D(_centre(face.box), angle, self._scale)
        turn[:, 2] += np.array(self._target()) - _centre(face.box)
        self._map = np.asarray(turn, dtype=np.float64)

    def _target(self) -> tuple[float, float]:
        """Where the face's centre comes to lie; a third of a cut one is outside."""
        reach = self._size_px * 0.75
        x, y = self._random.uniform(reach, WIDTH_PX - reach), self._random.uniform(reach, HEIGHT_PX - reach)
        if self._change != "cut":
            return x, y
        inside = self._size_px / 6
        places = [(inside, y), (x, inside), (WIDTH_PX - inside, y), (x, HEIGHT_PX - inside)]
        return places[int(self._random.integers(4))]

    def scene(self, ground: Picture) -> BenchScene:
        image = self._drawn(ground)
        faces, ignored = [], []
        for one in self._shown.faces:
            box = self._moved(one.box)
            share = _inside(box)
            if share <= _NOWHERE:
                continue
            enough = _INSIDE_CUT if self._change == "cut" and one is self._face else _INSIDE
            counts = one.state == CERTAIN and share >= enough and min(box.width_px, box.height_px) >= _SMALLEST_PX
            (faces if counts else ignored).append(box)
        return BenchScene(self._changed(image), self._shown.name, self._change, tuple(faces), tuple(ignored))

    def _drawn(self, ground: Picture) -> Picture:
        source = self._shown.image_bgr
        if self._scale < 0.7:  # or the small faces would be noise between the pixels taken
            source = np.asarray(cv2.GaussianBlur(source, (0, 0), 0.4 / self._scale), dtype=np.uint8)
        size = (WIDTH_PX, HEIGHT_PX)
        drawn = cv2.warpAffine(source, self._map, size, flags=cv2.INTER_LINEAR)
        covered = cv2.warpAffine(np.full(source.shape[:2], 255, np.uint8), self._map, size, flags=cv2.INTER_NEAREST)
        return np.asarray(np.where(covered[:, :, None] > 0, drawn, ground), dtype=np.uint8)

    def _moved(self, box: Box) -> Box:
        x, y = self._map[:, :2] @ _centre(box) + self._map[:, 2]
        width, height = box.width_px * self._scale, box.height_px * self._scale
        return Box(float(x) - width / 2, float(y) - height / 2, width, height)

    def _changed(self, image: Picture) -> Picture:
        if self._change == "dark":
            noisy = image * 0.2 + self._random.normal(0, 3, image.shape)
            return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)
        if self._change == "blurred":
            return np.asarray(cv2.GaussianBlur(image, (0, 0), self._size_px * 0.045), dtype=np.uint8)
        if self._change == "jpeg":
            _, file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12])
            return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), dtype=np.uint8)
        return image


def _side(box: Box) -> float:
    return math.sqrt(box.width_px * box.height_px)


def _centre(box: Box) -> tuple[float, float]:
    return box.left_px + box.width_px / 2, box.top_px + box.height_px / 2


def _inside(box: Box) -> float:
    """The part of a box that lies in the frame."""
    across = min(box.left_px + box.width_px, WIDTH_PX) - max(box.left_px, 0.0)
    along = min(box.top_px + box.height_px, HEIGHT_PX) - max(box.top_px, 0.0)
    return max(across, 0.0) * max(along, 0.0) / (box.width_px * box.height_px)
