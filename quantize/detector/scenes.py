"""Scenes with one face at a known place, made from photographs: to calibrate a detector, and to count what it finds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import Detector
from fer_edge.errors import DataError
from fer_edge.frames import Box
from fer_edge.tracker import intersection_over_union

from quantize.errors import GateError
from quantize.intervals import Interval, paired_drop

# Sides of faces in pixels of the canvas, the edges of the gate's buckets.
BUCKETS_PX = (10, 14, 20, 28, 40, 56, 80)
_MAX_DROP = 0.02
_HIT_IOU = 0.5
_WITHIN_REACH = 0.5
_GREY = (90, 90, 90)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photograph (h, w, 3) uint8 BGR and the one face in it."""

    image_bgr: NDArray[np.uint8]
    face: Box


@dataclass(frozen=True, eq=False)
class Scene:
    """A canvas (h, w, 3) uint8 BGR with one face at a known place."""

    image_bgr: NDArray[np.uint8]
    face: Box


@dataclass(frozen=True)
class BucketRecall:
    """How many of the faces of one size the float and the INT8 network find. Sizes in pixels of the canvas.

    `lost` are those that only the float one finds, `gained` those that only the INT8 one does.
    """

    low_px: int
    faces: int
    found_float: int
    lost: int
    gained: int

    @property
    def found_int8(self) -> int:
        """Faces the INT8 network finds."""
        return self.found_float - self.lost + self.gained

    @property
    def drop(self) -> Interval:
        """Recall lost, in [-1, 1], and its 95 % interval."""
        return paired_drop(self.lost, self.gained, self.faces)


def portraits(images: Iterable[NDArray[np.uint8]], detector: Detector) -> list[Portrait]:
    """The images in which `detector` finds exactly one face. Raises DataError where there is none."""
    found = [(image, detector.detect(image)) for image in images]
    kept = [Portrait(image, faces[0].box) for image, faces in found if len(faces) == 1]
    if not kept:
        raise DataError("no picture with exactly one face; expected photographs of faces.")
    return kept


def scenes(pictures: Sequence[Portrait], width_px: int, height_px: int, *, count: int, seed: int) -> list[Scene]:
    """Canvases with faces of all sizes at all places, turned up to 20 degrees, every third one darkened."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        portrait = pictures[number % len(pictures)]
        low, high = np.log(BUCKETS_PX[0]), np.log(min(width_px, height_px) * 0.8)
        scene = _scene(portrait, float(np.exp(random.uniform(low, high))), width_px, height_px, random)
        light = random.uniform(0.3, 0.6) if number % 3 == 2 else 1.0
        made.append(replace(scene, image_bgr=np.asarray(scene.image_bgr * light, dtype=np.uint8)))
    return made


def _scene(portrait: Portrait, face_px: float, width_px: int, height_px: int, random: np.random.Generator) -> Scene:
    face = portrait.face
    scale = face_px / max(face.width_px, face.height_px)
    image = portrait.image_bgr
    for _ in range(int(max(np.log2(1 / scale), 0))):
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    shrunk = image.shape[1] / portrait.image_bgr.shape[1]
    centre = ((face.left_px + face.width_px / 2) * shrunk, (face.top_px + face.height_px / 2) * shrunk)
    turn = cv2.getRotationMatrix2D(centre, random.uniform(-20, 20), scale / shrunk)
    margin = face_px / 2
    x, y = random.uniform(margin, width_px - margin), random.uniform(margin, height_px - margin)
    turn[:, 2] += (x - centre[0], y - centre[1])
    size = (width_px, height_px)
    canvas = cv2.warpAffine(
        image, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_GREY
    )
    width, height = face.width_px * scale, face.height_px * scale
    return Scene(np.asarray(canvas, dtype=np.uint8), Box(x - width / 2, y - height / 2, width, height))


def recall_by_size(made: Sequence[Scene], float_detector: Detector, int8_detector: Detector) -> list[BucketRecall]:
    """Recall of both detectors on scenes, by the size of the face."""
    sizes = np.array([max(scene.face.width_px, scene.face.height_px) for scene in made])
    bucket = np.searchsorted(BUCKETS_PX, sizes, side="right") - 1
    first, second = (np.array([_hit(scene, one) for scene in made]) for one in (float_detector, int8_detector))
    rows = []
    for number, low_px in enumerate(BUCKETS_PX):
        here = bucket == number
        counts = (here, here & first, here & first & ~second, here & second & ~first)
        rows.append(BucketRecall(low_px, *(int(np.count_nonzero(one)) for one in counts)))
    return [row for row in rows if row.faces]


def _hit(scene: Scene, detector: Detector) -> bool:
    found = detector.detect(scene.image_bgr)
    return any(intersection_over_union(one.box, scene.face) >= _HIT_IOU for one in found)


def require_recall(rows: Iterable[BucketRecall]) -> None:
    """Refuse an INT8 detector that surely loses more than 2 points of recall at some size. Raises GateError.

    Sizes of which the float network finds less than half are beyond the canvas, and are not judged.
    """
    for row in rows:
        if row.found_float >= _WITHIN_REACH * row.faces and row.drop.low > _MAX_DROP:
            raise GateError(
                f"INT8 finds {row.found_int8} of {row.faces} faces of {row.low_px} px and more, float "
                f"{row.found_float}; expected at most {100 * _MAX_DROP:.0f} points fewer. Give more --pictures."
            )
