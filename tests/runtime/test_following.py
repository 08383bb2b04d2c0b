"""Faces are followed by the small network between two looks at the whole frame."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.detectors.yunet import YuNetDetector
from fer_edge.frames import Box, Detection, Frame, FrameResult
from fer_edge.pipeline import Pipeline
from fer_edge.program.parts import make_pipeline
from fer_edge.settings import DetectionSettings, OutputSettings, Settings
from fer_edge.tracker import intersection_over_union

ROOM = (480, 640, 3)


def frame(index: int, image: np.ndarray | None = None) -> Frame:
    return Frame(np.zeros(ROOM, np.uint8) if image is None else image, index, index / 30, "camera")


class Scripted:
    """A detector that knows where the faces are: `places` of each frame, in the whole and near an expected place.

    It notes each look at a whole frame, and each at one face.
    """

    name, side_px, min_score = "yunet", 320, 0.6

    def __init__(self, places: Sequence[Sequence[Box]], follows_at_most: int = 8) -> None:
        self._places, self.follows_at_most = places, follows_at_most
        self.now = 0
        self.wholes: list[int] = []
        self.nears: list[int] = []

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        self.wholes.append(self.now)
        return [Detection(box, 0.9) for box in self._places[self.now]]

    def follow(self, image_bgr: np.ndarray, expected: Box) -> Detection | None:
        self.nears.append(self.now)
        overlaps = [(intersection_over_union(box, expected), box) for box in self._places[self.now]]
        overlap, box = max(overlaps, key=lambda one: one[0], default=(0.0, None))
        return Detection(box, 0.55) if box is not None and overlap > 0.1 else None


@pytest.fixture(scope="module")
def classifier(default_model: Path) -> Classifier:
    return Classifier(default_model)


def run(detector: Scripted, classifier: Classifier, count: int, every: int = 10) -> list[FrameResult]:
    pipeline, results = Pipeline(detector, classifier, detect_when=every), []
    for index in range(count):
        detector.now = index
        results.append(pipeline.process(frame(index)))
    return results


def at(x: float, y: float = 100) -> Box:
    return Box(x, y, 80, 80)


def test_the_whole_frame_is_looked_at_each_nth_time_and_the_face_where_it_is_between(classifier: Classifier) -> None:
    detector = Scripted([[at(100 + 9 * index)] for index in range(30)])
    results = run(detector, classifier, 30)
    assert detector.wholes == [0, 10, 20]
    assert len(detector.nears) == 27
    assert [result.faces[0].box_px for result in results] == [at(100 + 9 * index) for index in range(30)]
    assert {face.track_id for result in results for face in result.faces} == {0}
    assert [result.detected for result in results] == [index % 10 == 0 for index in range(30)]


def test_a_face_that_is_lost_has_the_whole_frame_looked_at_at_once(classifier: Classifier) -> None:
    detector = Scripted([[at(100)] if index < 4 else [at(500, 300)] for index in range(9)])
    results = run(detector, classifier, 9)
    assert detector.wholes == [0, 4]
    assert results[4].faces[0].box_px == at(500, 300)


def test_a_face_that_left_costs_one_look(classifier: Classifier) -> None:
    detector = Scripted([[at(100)] if index < 4 else [] for index in range(20)])
    results = run(detector, classifier, 20)
    assert detector.wholes == [0, 4, 14]
    assert [len(result.faces) for result in results] == [1] * 4 + [0] * 16


def test_a_face_that_comes_in_is_found_within_the_longest_wait(classifier: Classifier) -> None:
    detector = Scripted([[at(100)] if index < 11 else [at(100), at(400)] for index in range(25)])
    results = run(detector, classifier, 25)
    assert [len(result.faces) for result in results] == [1] * 20 + [2] * 5


def test_more_faces_than_are_cheap_to_follow_have_each_whole_frame_looked_at(classifier: Classifier) -> None:
    three = [at(20), at(220), at(420)]
    detector = Scripted([three] * 12, follows_at_most=2)
    assert all(len(result.faces) == 3 for result in run(detector, classifier, 12))
    assert (detector.wholes, detector.nears) == (list(range(12)), [])


def test_a_face_the_whole_frame_misses_is_looked_for_where_it_was(classifier: Classifier) -> None:
    """It may be too small for the whole frame's canvas."""
    detector = Scripted([[at(100)]] * 12)
    whole = detector.detect
    detector.detect = lambda image, *, faint=False: whole(image)[: 0 if detector.now == 10 else 1]  # type: ignore[method-assign]
    results = run(detector, classifier, 12)
    assert all(len(result.faces) == 1 for result in results)
    assert results[10].hidden == (at(100),), "and it is hidden there"


def test_two_tracks_that_come_to_follow_one_face_have_the_whole_frame_looked_at(classifier: Classifier) -> None:
    detector = Scripted([[at(100), at(150)] if index < 3 else [at(125)] for index in range(6)])
    results = run(detector, classifier, 6)
    assert detector.wholes == [0, 3]
    assert [len(result.faces) for result in results] == [2, 2, 2, 1, 1, 1]


def test_a_detector_that_fails_on_a_cut_has_not_looked(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    detector = Scripted([[at(100)]] * 6)
    detector.follow = lambda image, expected: Detection(Box(float("nan"), 0, 9, 9), 0.9)  # type: ignore[method-assign]
    results = run(detector, classifier, 6)
    assert [len(result.faces) for result in results] == [1, 1, 1, 1, 0, 0], "predicted for three frames at most"
    assert all(result.hidden is None for result in results[1:])


def test_a_detector_that_cannot_follow_looks_before_a_prediction_is_too_old(classifier: Classifier) -> None:
    detector = Scripted([[at(100)]] * 13, follows_at_most=0)
    results = run(detector, classifier, 13)
    assert detector.wholes == [0, 4, 8, 12]
    assert all(len(result.faces) == 1 for result in results)


def test_a_slow_board_looks_less_often_and_leaves_old_predictions_out(classifier: Classifier) -> None:
    detector = Scripted([[at(100)]] * 20, follows_at_most=0)
    pipeline = Pipeline(detector, classifier, detect_when=1)
    pipeline.finder.schedule.stretch = 8
    counts = [len(pipeline.process(frame(index)).faces) for index in range(16)]
    assert counts == ([1] * 4 + [0] * 4) * 2


def drawn(astronaut: np.ndarray, x: float, y: float, scale: float) -> np.ndarray:
    """The photograph in a room, at a place and size."""
    matrix = np.array([[scale, 0, x], [0, scale, y]])
    return cv2.warpAffine(astronaut, matrix, ROOM[1::-1], flags=cv2.INTER_AREA, borderValue=(90, 100, 110))


@pytest.mark.parametrize("scale", [0.12, 0.3, 0.8])
def test_a_real_face_is_found_again_at_every_size(made_yunet_file: Path, astronaut: np.ndarray, scale: float) -> None:
    detector = open_detector("yunet", made_yunet_file)
    assert isinstance(detector, YuNetDetector)
    (known,) = open_detector("yunet", made_yunet_file).detect(astronaut)
    truth = Box(*(edge * scale for edge in vars(known.box).values()))
    truth = Box(truth.left_px + 150, truth.top_px + 40, truth.width_px, truth.height_px)
    image = drawn(astronaut, 150, 40, scale)
    shifted = Box(truth.left_px + 0.2 * truth.width_px, truth.top_px, truth.width_px, truth.height_px)
    found = detector.follow(image, shifted)
    assert found is not None and intersection_over_union(found.box, truth) > 0.6
    assert found.keypoints is not None
    nose = found.keypoints.nose
    assert truth.left_px < nose.x_px < truth.left_px + truth.width_px
    assert detector.follow(image, Box(0, 380, truth.width_px, truth.height_px)) is None, "nobody is there"


@pytest.mark.parametrize("box", [Box(-200, 10, 50, 50), Box(639, 479, 3, 3), Box(-5, -5, 9, 9), Box(600, 10, 1e6, 1e6)])
def test_a_place_outside_the_picture_shows_nobody(made_yunet_file: Path, box: Box) -> None:
    detector = open_detector("yunet", made_yunet_file)
    assert isinstance(detector, YuNetDetector)
    assert detector.follow(np.zeros(ROOM, np.uint8), box) is None


def test_a_swinging_camera_loses_no_face_at_one_look_in_ten(
    made_yunet_file: Path, default_model: Path, astronaut: np.ndarray
) -> None:
    """At up to 12 pixels a frame."""
    detector = open_detector("yunet", made_yunet_file)
    pipeline = Pipeline(detector, Classifier(default_model), detect_when=10)
    results = []
    for index in range(60):
        x = 200 + 100 * np.sin(index / 8)
        results.append(pipeline.process(frame(index, drawn(astronaut, x, 60, 0.5))))
    assert all(len(result.faces) == 1 for result in results)
    assert {face.track_id for result in results for face in result.faces} == {0}
    assert sum(result.detected for result in results) <= 8


def test_the_face_of_the_sample_clip_is_named_in_every_frame_and_nobody_where_nobody_is(
    made_yunet_file: Path, clip: Path
) -> None:
    """As the program runs without a flag. The left third of the clip shows a wall."""
    whole, wall = make_pipeline(Settings()), make_pipeline(Settings())
    video, counts = cv2.VideoCapture(str(clip)), []
    while (read := video.read())[0]:
        image = np.asarray(read[1], np.uint8)
        left = np.ascontiguousarray(image[:, : image.shape[1] // 3])
        counts.append(
            (len(whole.process(frame(len(counts), image)).faces), len(wall.process(frame(len(counts), left)).faces))
        )
    assert len(counts) == 472
    assert sum(one == 1 for one, _ in counts) >= 0.99 * len(counts)
    assert not any(nobody for _, nobody in counts)


@pytest.mark.parametrize(
    ("detector", "when", "privacy", "every"),
    [("yunet", None, "none", 10), ("yunet", None, "blur", 1), ("mediapipe", None, "none", 1), ("yunet", 3, "blur", 3)],
)
def test_how_often_the_whole_frame_is_looked_at(
    made_yunet_file: Path, mediapipe_file: Path, detector: str, when: int | None, privacy: str, every: int
) -> None:
    settings = Settings(
        detection=DetectionSettings(detector=detector, when=when), output=OutputSettings(privacy=privacy)
    )
    pipeline = make_pipeline(settings)
    results = [pipeline.process(frame(index)) for index in range(21)]
    assert [result.detected for result in results] == [index % every == 0 for index in range(21)]
