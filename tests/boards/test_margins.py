"""The measurement of crop margins, on the one public face the tests have."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces

from boards.margins import MARGINS, measure_margins, write_margins

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def faces_of(images: list[np.ndarray]) -> LabelledFaces:
    labels = np.full(len(images), LABELS.index("happy"))
    return LabelledFaces(np.stack(images), labels, LABELS, "made", "test")


def test_a_row_for_each_margin_over_the_faces_that_were_found(
    astronaut: np.ndarray, default_model: Path, mediapipe_file: Path, tmp_path: Path
) -> None:
    grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)[45:195, 150:300]
    smile = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    detector = open_detector("mediapipe", mediapipe_file)
    rows = measure_margins(Classifier(default_model), detector, faces_of([smile, noise]))
    assert [row.margin for row in rows] == list(MARGINS)
    assert {(row.detector, row.n, row.found) for row in rows} == {("mediapipe", 2, 1)}
    assert rows[MARGINS.index(0.06)].agreement == 1.0
    write_margins(tmp_path / "margins.csv", rows)
    with open(tmp_path / "margins.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert len(read) == len(MARGINS)
    assert read[0]["margin"] == "-0.1000"


def test_a_detector_that_finds_nobody_is_an_error(default_model: Path, mediapipe_file: Path) -> None:
    black = faces_of([np.zeros((48, 48), np.uint8)])
    with pytest.raises(DataError, match="found none of the 1 faces"):
        measure_margins(Classifier(default_model), open_detector("mediapipe", mediapipe_file), black)
