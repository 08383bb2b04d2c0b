"""Does five-point alignment help a classifier? FER2013 faces in larger pictures, upright and turned, cut out both ways.

A classifier trained on FER2013's own framing keeps it when the template is where FER2013's faces have their keypoints
on average: `mean_template`, from faces of Training. PublicTest says whether alignment is worth it.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.contract import FaceCrop, ModelContract, TemplatePoint
from fer_edge.crop import crop_faces
from fer_edge.csv_tables import write_csv
from fer_edge.detectors import Detector
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces
from fer_edge.frames import Keypoints

from boards.margins import FACE_PX, FRAME_PX, pasted_and_found
from quantize.intervals import paired_drop

TURNS_DEG = (0.0, 15.0, 30.0)
TEMPLATE_FACES = 1400
_POINTS = 5


@dataclass(frozen=True)
class AlignmentRow:
    """Accuracy of one detector's crops by box and by five points, over the `found` of `n` faces, turned by `turn_deg`.

    `eyes_turned_deg` is how far the line of the detected eyes is turned, on average: less where keypoints lag behind.
    `gain` is what alignment adds, in [-1, 1], with its 95 % interval; accuracies are fractions.
    """

    model: str
    detector: str
    turn_deg: float
    n: int
    found: int
    eyes_turned_deg: float
    accuracy_by_box: float
    accuracy_aligned: float
    gain: float
    gain_low: float
    gain_high: float


def mean_template(detector: Detector, faces: LabelledFaces) -> tuple[TemplatePoint, ...]:
    """Where the five keypoints of upright faces lie on average, as fractions of FER2013's square.

    Raises DataError where the detector finds none of the faces, or gives no corners of the mouth.
    """
    left, top = ((side - FACE_PX) / 2 for side in reversed(FRAME_PX))
    places = [
        [((point.x_px - left) / FACE_PX, (point.y_px - top) / FACE_PX) for point in one.face.keypoints.points]
        for one in pasted_and_found(detector, faces)
        if one.face.keypoints is not None and len(one.face.keypoints.points) == _POINTS
    ]
    if not places:
        raise DataError(f"{detector.name} gave five keypoints for none of the {len(faces)} faces.")
    return tuple(TemplatePoint(x=round(float(x), 4), y=round(float(y), 4)) for x, y in np.mean(places, axis=0))


def measure_alignment(
    classifiers: Sequence[Classifier],
    detector: Detector,
    faces: LabelledFaces,
    template: tuple[TemplatePoint, ...],
    turns_deg: Iterable[float] = TURNS_DEG,
) -> list[AlignmentRow]:
    """A row for each turn and classifier. Raises DataError when the detector finds none of the faces."""
    return [row for turn_deg in turns_deg for row in _turned(classifiers, detector, faces, template, turn_deg)]


def _turned(
    classifiers: Sequence[Classifier],
    detector: Detector,
    faces: LabelledFaces,
    template: tuple[TemplatePoint, ...],
    turn_deg: float,
) -> list[AlignmentRow]:
    """A row for each classifier. Only the crops are kept: the pictures of all faces are gigabytes."""
    pairs = [(one.contract, _aligned(one.contract, template)) for one in classifiers]
    indices: list[int] = []
    angles: list[float] = []
    crops: list[list[list[np.ndarray]]] = [[[], []] for _ in classifiers]
    for found in pasted_and_found(detector, faces, turn_deg):
        indices.append(found.index)
        angles += [] if found.face.keypoints is None else [_eyes_turned_deg(found.face.keypoints)]
        for kept, pair in zip(crops, pairs, strict=True):
            for crop_list, contract in zip(kept, pair, strict=True):
                crop_list.append(crop_faces(found.picture, [found.face], contract, detector.name))
    if not indices:
        raise DataError(f"{detector.name} found none of the {len(faces)} faces.")
    rows = []
    for classifier, kept in zip(classifiers, crops, strict=True):
        truth = faces.in_order_of(classifier.contract.labels).labels[indices]
        right = [classifier.classify(np.concatenate(of_kind)).argmax(axis=1) == truth for of_kind in kept]
        where = (classifier.path.name, detector.name, turn_deg, len(faces), len(indices), _mean(angles))
        rows.append(AlignmentRow(*where, *_scores(right[0], right[1])))
    return rows


def _eyes_turned_deg(keypoints: Keypoints) -> float:
    """How far the line of the eyes is turned to the left, in degrees."""
    right, left = keypoints.right_eye, keypoints.left_eye
    return math.degrees(math.atan2(right.y_px - left.y_px, left.x_px - right.x_px))


def _aligned(contract: ModelContract, template: tuple[TemplatePoint, ...]) -> ModelContract:
    face_crop = FaceCrop(
        margin=contract.face_crop.margin,
        square=True,
        alignment="five-point",
        detector_margins=contract.face_crop.detector_margins,
        template_points=template,
    )
    return dataclasses.replace(contract, face_crop=face_crop).in_lowest_schema()


def _scores(by_box: np.ndarray, aligned: np.ndarray) -> tuple[float, float, float, float, float]:
    """Both accuracies, and the gain with its interval, of faces (n,) named rightly or not."""
    lost, gained = int((by_box & ~aligned).sum()), int((aligned & ~by_box).sum())
    gain = paired_drop(gained, lost, len(by_box))
    return float(by_box.mean()), float(aligned.mean()), gain.measured, gain.low, gain.high


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def write_alignment(path: Path, rows: list[AlignmentRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, AlignmentRow, rows)
