"""Which crop margin suits each detector: FER2013's framing and the detectors' boxes are not the same.

A FER2013 face is pasted into a larger picture and detected there; its crop is classified, and compared with what the
classifier says of the FER2013 face itself. The margin with the best agreement is the detector's own.
"""

import csv
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
from fer_edge.detectors import Detector
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces
from fer_edge.files import atomic_write
from fer_edge.frames import Detection

MARGINS = (-0.10, -0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06, 0.08, 0.10, 0.14, 0.20)
_FRAME_PX, _FACE_PX = (480, 640), 160


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
    found = list(_pasted_and_found(detector, faces))
    if not found:
        raise DataError(f"{detector.name} found none of the {len(faces)} faces.")
    indices = [index for index, _, _ in found]
    labels = faces.labels[indices]
    expected = classifier.classify(faces.images[indices]).argmax(axis=1)
    rows = []
    for margin in MARGINS:
        contract = _with_margin(classifier, margin)
        crops = [crop_faces(picture, [face], contract, detector.name) for _, picture, face in found]
        said = classifier.classify(np.concatenate(crops)).argmax(axis=1)
        scores = [float((said == expected).mean()), float((said == labels).mean()), float((expected == labels).mean())]
        rows.append(MarginRow(detector.name, margin, len(faces), len(found), *scores))
    return rows


def _with_margin(classifier: Classifier, margin: float) -> ModelContract:
    face_crop = dataclasses.replace(classifier.contract.face_crop, margin=margin, detector_margins=())
    return dataclasses.replace(classifier.contract, face_crop=face_crop)


def _pasted_and_found(detector: Detector, faces: LabelledFaces) -> Iterator[tuple[int, np.ndarray, Detection]]:
    """Index, picture (480, 640, 3) and best detection of every face the detector finds."""
    for index, face in enumerate(tqdm(faces.images, desc=f"detect with {detector.name}", leave=False)):
        edge = np.concatenate([face[0], face[-1], face[:, 0], face[:, -1]])
        picture = np.full(_FRAME_PX, int(np.median(edge)), np.uint8)
        top, left = ((side - _FACE_PX) // 2 for side in _FRAME_PX)
        large = cv2.resize(face, (_FACE_PX, _FACE_PX), interpolation=cv2.INTER_CUBIC)
        picture[top : top + _FACE_PX, left : left + _FACE_PX] = large
        frame = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
        detections = detector.detect(frame)
        if detections:
            yield index, frame, detections[0]


def write_margins(path: Path, rows: list[MarginRow]) -> None:
    """The rows as CSV, atomically; fractions with four decimals."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(MarginRow)])
        writer.writeheader()
        for row in rows:
            cells = dataclasses.asdict(row)
            writer.writerow(
                {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in cells.items()}
            )
