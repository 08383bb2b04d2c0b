"""Which crop margin suits each detector: FER2013's framing and the detectors' boxes are not the same.

A FER2013 face is pasted into a larger picture and detected there; its crop is classified, and compared with what the
classifier says of the FER2013 face itself. The margin with the best agreement is the detector's own.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.crop import crop_faces
from fer_edge.csv_tables import write_csv
from fer_edge.detectors import Detector
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces
from fer_edge.frames import Detection

MARGINS = (-0.10, -0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06, 0.08, 0.10, 0.14, 0.20)
FRAME_PX, FACE_PX = (480, 640), 160
"""Height and width of the larger picture, and the side of the face in its middle."""


@dataclass(frozen=True, eq=False)
class Found:
    """A face the detector found: its `index` among the labelled ones, and the picture (480, 640, 3) uint8 around it."""

    index: int
    picture: np.ndarray
    face: Detection


@dataclass(frozen=True)
class MarginRow:
    """One margin for one detector. `found` of `n` faces were detected; the fractions are over those."""

    detector: str
    margin: float
    n: int
    found: int
    agreement: float
    accuracy: float
    accuracy_of_own_crop: float


def measure_margins(classifier: Classifier, detector: Detector, faces: LabelledFaces) -> list[MarginRow]:
    """A row for each of MARGINS. Raises DataError when the detector finds none of the faces."""
    faces = faces.in_order_of(classifier.contract.labels)
    found = list(pasted_and_found(detector, faces))
    if not found:
        raise DataError(f"{detector.name} found none of the {len(faces)} faces.")
    indices = [one.index for one in found]
    labels = faces.labels[indices]
    expected = classifier.classify(faces.images[indices]).argmax(axis=1)
    rows = []
    for margin in MARGINS:
        contract = _with_margin(classifier, margin)
        crops = [crop_faces(one.picture, [one.face], contract, detector.name) for one in found]
        said = classifier.classify(np.concatenate(crops)).argmax(axis=1)
        scores = [float((said == expected).mean()), float((said == labels).mean()), float((expected == labels).mean())]
        rows.append(MarginRow(detector.name, margin, len(faces), len(found), *scores))
    return rows


def _with_margin(classifier: Classifier, margin: float) -> ModelContract:
    face_crop = dataclasses.replace(classifier.contract.face_crop, margin=margin, detector_margins=())
    return dataclasses.replace(classifier.contract, face_crop=face_crop)


def pasted_and_found(detector: Detector, faces: LabelledFaces, turn_deg: float = 0.0) -> Iterator[Found]:
    """The best detection of every face the detector finds in a picture turned by `turn_deg` around the face."""
    for index, face in enumerate(tqdm(faces.images, desc=f"detect with {detector.name}", leave=False)):
        picture = _pasted(face, turn_deg)
        detections = detector.detect(picture)
        if detections:
            yield Found(index, picture, detections[0])


def _pasted(face: np.ndarray, turn_deg: float) -> np.ndarray:
    """A face (h, w) uint8 in the middle of a plain picture (480, 640, 3) of the grey that its edge has."""
    edge = np.concatenate([face[0], face[-1], face[:, 0], face[:, -1]])
    picture = np.full(FRAME_PX, int(np.median(edge)), np.uint8)
    top, left = ((side - FACE_PX) // 2 for side in FRAME_PX)
    picture[top : top + FACE_PX, left : left + FACE_PX] = cv2.resize(
        face, (FACE_PX, FACE_PX), interpolation=cv2.INTER_CUBIC
    )
    if turn_deg:
        height, width = FRAME_PX
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn_deg, 1.0)
        picture = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def write_margins(path: Path, rows: list[MarginRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, MarginRow, rows)
