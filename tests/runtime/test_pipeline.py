"""Crop, tracker, smoother and the pipeline they stand in."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.annotate import blur_faces
from fer_edge.classifier import Classifier
from fer_edge.contract import DetectorMargin, FaceCrop, ModelContract
from fer_edge.crop import crop_box, crop_faces
from fer_edge.detectors import open_detector
from fer_edge.frames import Box, Detection, Frame, FrameResult
from fer_edge.pipeline import Pipeline, run
from fer_edge.smoother import ExponentialSmoother
from fer_edge.tracker import IouTracker, intersection_over_union

boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0, 1200), st.floats(0, 1200))


def with_margin(contract: ModelContract, margin: float) -> ModelContract:
    return dataclasses.replace(contract, face_crop=dataclasses.replace(contract.face_crop, margin=margin))


def test_a_crop_is_the_grey_box_at_the_models_size(contract: ModelContract) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:98, 100:148] = (255, 0, 0)  # pure blue is 29 in grey
    (crop,) = crop_faces(image, [Box(100, 50, 48, 48)], with_margin(contract, 0.0), "mediapipe")
    assert crop.shape == (48, 48)
    assert (crop == 29).all()


def test_the_box_is_squared_on_its_longer_side_and_widened_by_the_margin(contract: ModelContract) -> None:
    assert crop_box(Box(100, 100, 40, 80), with_margin(contract, 0.25).face_crop, "mediapipe") == Box(60, 80, 120, 120)


def test_each_detector_has_the_margin_that_was_measured_for_it() -> None:
    measured = (DetectorMargin(detector="yunet", margin=-0.1),)
    face_crop = FaceCrop(margin=0.25, square=True, alignment="none", detector_margins=measured)
    assert crop_box(Box(100, 100, 80, 80), face_crop, "yunet").width_px == pytest.approx(64)
    assert crop_box(Box(100, 100, 80, 80), face_crop, "another").width_px == pytest.approx(120)


def test_what_lies_outside_the_frame_repeats_its_edge(contract: ModelContract) -> None:
    image = np.full((60, 60, 3), 200, np.uint8)
    (crop,) = crop_faces(image, [Box(-30, -30, 60, 60)], with_margin(contract, 0.0), "mediapipe")
    assert (crop == 200).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(box=boxes, height=st.integers(1, 300), width=st.integers(1, 300))
def test_any_box_gives_a_crop(contract: ModelContract, box: Box, height: int, width: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    (crop,) = crop_faces(image, [box], contract, "mediapipe")
    assert crop.shape == (48, 48)
    assert (crop == 77).all()


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_fraction(first: Box, second: Box) -> None:
    overlap = intersection_over_union(first, second)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(intersection_over_union(second, first))


def at(x: float, y: float = 0) -> Detection:
    return Detection(Box(x, y, 100, 100), 0.9)


def test_a_moving_face_keeps_its_track() -> None:
    tracker = IouTracker()
    assert {tracker.update([at(10 * step)])[0] for step in range(20)} == {0}


def test_two_faces_keep_their_tracks_in_any_order() -> None:
    tracker = IouTracker()
    assert tracker.update([at(0), at(500)]) == [0, 1]
    assert tracker.update([at(505), at(5)]) == [1, 0]


def test_a_face_that_comes_back_soon_is_the_same_and_later_a_new_one() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    for _ in range(5):
        tracker.update([])
    assert tracker.update([at(0)]) == [0]
    for _ in range(40):
        tracker.update([])
    assert tracker.alive == frozenset()
    assert tracker.update([at(0)]) == [1]


def test_smoothing_follows_slowly_and_starts_at_once() -> None:
    smoother = ExponentialSmoother(0.25)
    alive = {0}
    first = smoother.update([0], np.array([[1.0, 0.0]], np.float32), alive)
    second = smoother.update([0], np.array([[0.0, 1.0]], np.float32), alive)
    np.testing.assert_allclose(first, [[1, 0]])
    np.testing.assert_allclose(second, [[0.75, 0.25]])


def test_tracks_are_smoothed_apart_and_forgotten() -> None:
    smoother = ExponentialSmoother(0.5)
    smoother.update([0, 1], np.array([[1, 0], [0, 1]], np.float32), {0, 1})
    both = smoother.update([1, 0], np.array([[0, 1], [1, 0]], np.float32), {0, 1})
    np.testing.assert_allclose(both, [[0, 1], [1, 0]])
    smoother.update([], np.zeros((0, 2), np.float32), set())
    np.testing.assert_allclose(smoother.update([0], np.array([[0, 1]], np.float32), {0}), [[0, 1]])


@pytest.fixture
def pipeline(mediapipe_file: Path, default_model: Path) -> Pipeline:
    return Pipeline(open_detector("mediapipe", mediapipe_file), Classifier(default_model))


def test_the_astronaut_smiles(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    result = pipeline.process(Frame(astronaut, 7, 0.5, "photo"))
    (face,) = result.faces
    assert face.expression == "happy"
    assert face.confidence == max(face.probabilities)
    assert (result.frame_index, result.captured_at_s, result.width_px, result.height_px) == (7, 0.5, 512, 512)


def test_every_stage_is_timed(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    stages = pipeline.process(Frame(astronaut, 0, 0.0, "photo")).stage_ms
    assert list(stages) == ["detect", "track", "crop", "classify", "smooth", "total"]
    assert stages["total"] == pytest.approx(sum(value for name, value in stages.items() if name != "total"))
    assert stages["detect"] > stages["track"]


@pytest.mark.parametrize("shape", [(1, 1, 3), (480, 640, 3)])
def test_a_frame_without_faces_is_a_result_without_faces(pipeline: Pipeline, shape: tuple[int, ...]) -> None:
    assert pipeline.process(Frame(np.zeros(shape, np.uint8), 0, 0.0, "black")).faces == ()


def test_many_faces_are_limited_to_the_best(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    small = astronaut[20:220, 120:320]
    crowd = np.tile(small, (2, 3, 1))
    pipeline._max_faces = 4
    result = pipeline.process(Frame(crowd, 0, 0.0, "crowd"))
    assert len(result.faces) == 4
    assert len({face.track_id for face in result.faces}) == 4


def test_faces_beyond_the_limit_are_hidden_all_the_same(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    small = astronaut[20:220, 120:320]
    frame = Frame(np.tile(small, (1, 3, 1)), 0, 0.0, "row")
    pipeline._max_faces = 1
    result = pipeline.process(frame)
    assert (len(result.faces), len(result.unnamed)) == (1, 2)
    assert pipeline.detector.detect(blur_faces(frame.image_bgr, result)) == []


def test_a_photograph_in_a_folder_scores_as_it_does_alone(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    """The face before it, in the same place, must neither be taken for the same person nor smooth its expression."""
    faded = cv2.GaussianBlur(astronaut[:, ::-1], (0, 0), 4) // 2 + 60
    alone = pipeline.process(Frame(faded, 0, 0.0, "b.png")).faces[0]
    results: list[FrameResult] = []

    class Keeping:
        name = "keeping"

        def write(self, frame: Frame, result: FrameResult) -> None:
            results.append(result)

    pictures = [Frame(astronaut, 0, 0.0, "a.png"), Frame(faded, 1, 1.0, "b.png")]
    run(pictures, pipeline, Keeping(), continuous=False)
    assert results[1].faces[0].probabilities == pytest.approx(alone.probabilities)
    assert results[0].faces[0].track_id != results[1].faces[0].track_id


def test_run_stops_at_the_wanted_number_of_frames(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    class Counting:
        name, written = "counting", 0

        def write(self, frame: Frame, result: object) -> None:
            self.written += 1

    sink = Counting()
    frames = (Frame(astronaut, index, 0.0, "photo") for index in range(100))
    assert run(frames, pipeline, sink, max_frames=3) == 3
    assert sink.written == 3
