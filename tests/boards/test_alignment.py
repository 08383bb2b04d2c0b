"""The measurement of alignment, on the one public face the tests have."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.contract import TemplatePoint
from fer_edge.detectors import open_detector
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces

from boards.alignment import mean_template, measure_alignment, write_alignment
from boards.margins import pasted_and_found

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
TEMPLATE = tuple(
    TemplatePoint(x=x, y=y) for x, y in ((0.31, 0.38), (0.67, 0.38), (0.49, 0.59), (0.34, 0.75), (0.64, 0.75))
)


@pytest.fixture
def smile(astronaut: np.ndarray) -> LabelledFaces:
    grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)[45:195, 150:300]
    images = cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)[None]
    return LabelledFaces(images, np.array([LABELS.index("happy")]), LABELS, "made", "test")


def test_a_row_for_each_turn_with_what_alignment_adds(
    smile: LabelledFaces, default_model: Path, mediapipe_file: Path, tmp_path: Path
) -> None:
    detector = open_detector("mediapipe", mediapipe_file)
    rows = measure_alignment([Classifier(default_model)], detector, smile, TEMPLATE, (0.0, -15.0))
    assert [(row.turn_deg, row.n, row.found) for row in rows] == [(0.0, 1, 1), (-15.0, 1, 1)]
    assert [row.accuracy_aligned for row in rows] == [1.0, 1.0]
    assert all(row.gain_low <= row.gain == row.accuracy_aligned - row.accuracy_by_box <= row.gain_high for row in rows)
    write_alignment(tmp_path / "alignment.csv", rows)
    with open(tmp_path / "alignment.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [float(row["turn_deg"]) for row in read] == [0, -15]
    assert float(read[1]["eyes_turned_deg"]) == pytest.approx(-15, abs=6)


def test_a_turned_picture_has_its_eyes_turned(smile: LabelledFaces, mediapipe_file: Path) -> None:
    detector = open_detector("mediapipe", mediapipe_file)
    slopes = []
    for turn_deg in (0.0, -15.0):
        (found,) = pasted_and_found(detector, smile, turn_deg)
        right, left = found.face.keypoints.right_eye, found.face.keypoints.left_eye
        slopes.append(np.degrees(np.arctan2(right.y_px - left.y_px, left.x_px - right.x_px)))
    assert slopes[1] - slopes[0] == pytest.approx(-15, abs=6)


def test_the_template_is_where_the_keypoints_lie_in_the_face(smile: LabelledFaces, yunet_file: Path) -> None:
    eyes_nose_mouth = mean_template(open_detector("yunet", yunet_file), smile)
    right_eye, left_eye, nose, right_corner, left_corner = eyes_nose_mouth
    assert 0.15 < right_eye.x < right_corner.x + 0.1 < nose.x + 0.1 and nose.x < left_corner.x < left_eye.x + 0.1 < 1
    assert right_eye.y < nose.y < right_corner.y < 0.95


def test_a_detector_without_corners_of_the_mouth_gives_no_template(smile: LabelledFaces, mediapipe_file: Path) -> None:
    with pytest.raises(DataError, match="mediapipe gave five keypoints for none of the 1 faces"):
        mean_template(open_detector("mediapipe", mediapipe_file), smile)


def test_a_detector_that_finds_nobody_is_an_error(default_model: Path, mediapipe_file: Path) -> None:
    black = LabelledFaces(np.zeros((1, 48, 48), np.uint8), np.array([0]), LABELS, "made", "test")
    with pytest.raises(DataError, match="found none of the 1 faces"):
        measure_alignment([Classifier(default_model)], open_detector("mediapipe", mediapipe_file), black, TEMPLATE)
