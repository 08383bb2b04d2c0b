"""The pipeline: detection, tracking, crop, classification and smoothing of one frame after the other."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.arguments import ON_MOTION, region
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.drawing import blur_faces
from fer_edge.errors import ModelError
from fer_edge.frames import Box, Detection, Frame
from fer_edge.pipeline import Pipeline
from fer_edge.tracker import IouTracker, intersection_over_union


@pytest.fixture
def pipeline(mediapipe_file: Path, default_model: Path) -> Pipeline:
    return Pipeline(open_detector("mediapipe", mediapipe_file), Classifier(default_model))


def test_the_astronaut_smiles(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    result = pipeline.process(Frame(astronaut, 7, 0.5, "photo"))
    (face,) = result.faces
    assert face.expression == "happy"
    assert face.confidence == max(face.probabilities)
    assert result.detected
    assert (result.frame_index, result.captured_at_s, result.width_px, result.height_px) == (7, 0.5, 512, 512)


def test_every_stage_is_timed(pipeline: Pipeline, astronaut: np.ndarray) -> None:
    stages = pipeline.process(Frame(astronaut, 0, 0.0, "photo")).stage_ms
    assert list(stages) == ["detect", "track", "crop", "classify", "smooth", "total"]
    assert stages["total"] == pytest.approx(sum(value for name, value in stages.items() if name != "total"))
    assert all(value >= 0 for value in stages.values())


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


def counted(pipeline: Pipeline) -> list[int]:
    """Notes the shape of every picture the pipeline's detector is asked about."""
    asked: list[tuple[int, ...]] = []
    detect = pipeline.detector.detect

    def noted(image: np.ndarray, *, faint: bool = False) -> list[Detection]:
        asked.append(image.shape)
        return detect(image, faint=faint)

    pipeline.detector.detect = noted  # type: ignore[method-assign]
    return asked


def test_the_detector_runs_each_nth_frame_and_the_face_is_tracked_between(
    mediapipe_file: Path, default_model: Path, astronaut: np.ndarray
) -> None:
    detector, classifier = open_detector("mediapipe", mediapipe_file), Classifier(default_model)
    pipeline = Pipeline(detector, classifier, detect_when=4)
    asked = counted(pipeline)
    results = [pipeline.process(Frame(astronaut, index, index / 30, "photo")) for index in range(10)]
    assert len(asked) == 3
    assert [result.detected for result in results] == [index % 4 == 0 for index in range(10)]
    assert {(face.track_id, face.expression) for result in results for face in result.faces} == {(0, "happy")}
    assert all(len(result.faces) == 1 for result in results)


def test_on_motion_the_detector_rests_while_a_picture_without_faces_is_still(
    mediapipe_file: Path, default_model: Path
) -> None:
    detector, classifier = open_detector("mediapipe", mediapipe_file), Classifier(default_model)
    pipeline = Pipeline(detector, classifier, detect_when=ON_MOTION)
    asked = counted(pipeline)
    room = np.random.default_rng(0).integers(90, 110, (480, 640, 3), dtype=np.uint8)
    for index in range(100):
        noise = np.random.default_rng(index).integers(0, 8, room.shape, dtype=np.uint8)
        pipeline.process(Frame(room + noise, index, index / 30, "camera"))
    assert len(asked) == 4, "the first picture, and once in 30 frames to be sure"


def test_on_motion_a_face_that_comes_in_is_found_at_once(
    mediapipe_file: Path, default_model: Path, astronaut: np.ndarray
) -> None:
    detector, classifier = open_detector("mediapipe", mediapipe_file), Classifier(default_model)
    pipeline = Pipeline(detector, classifier, detect_when=ON_MOTION)
    empty = np.full_like(astronaut, 60)
    for index in range(5):
        assert pipeline.process(Frame(empty, index, index / 30, "camera")).faces == ()
    result = pipeline.process(Frame(astronaut, 5, 5 / 30, "camera"))
    assert result.detected and len(result.faces) == 1
    still = [pipeline.process(Frame(astronaut, index, index / 30, "camera")) for index in range(6, 30)]
    assert not any(result.detected for result in still), "it holds still"
    assert {result.faces[0].box_px for result in still} == {result.faces[0].box_px}


def test_the_detector_reads_the_small_picture_where_the_camera_gives_one(
    pipeline: Pipeline, astronaut: np.ndarray
) -> None:
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    asked = counted(pipeline)
    (face,) = pipeline.process(Frame(astronaut, 0, 0.0, "photo")).faces
    pipeline.forget()
    (again,) = pipeline.process(Frame(astronaut, 1, 0.0, "photo", small_bgr=small)).faces
    assert asked == [(512, 512, 3), (256, 256, 3)]
    assert intersection_over_union(face.box_px, again.box_px) > 0.9, "boxes are in pixels of the large one"


def test_keypoints_found_in_a_small_picture_are_in_pixels_of_the_large_one(
    pipeline: Pipeline, astronaut: np.ndarray
) -> None:
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    found = pipeline.finder.look(Frame(astronaut, 0, 0.0, "photo", small_bgr=small), IouTracker()).found
    assert found is not None and found[0].keypoints is not None
    nose = found[0].keypoints.nose
    assert (nose.x_px, nose.y_px) == pytest.approx((224, 130), abs=6)


def test_less_effort_reads_fewer_pixels_but_never_fewer_than_the_detector_takes(
    pipeline: Pipeline, astronaut: np.ndarray
) -> None:
    asked = counted(pipeline)
    (face,) = pipeline.process(Frame(astronaut, 0, 0.0, "photo")).faces
    pipeline.finder.pixel_step = 3
    (again,) = pipeline.process(Frame(astronaut, 1, 0.0, "photo")).faces
    assert asked == [(512, 512, 3), (256, 256, 3)]
    assert intersection_over_union(face.box_px, again.box_px) > 0.8


def test_faces_too_small_or_outside_the_regions_are_found_but_not_named(
    mediapipe_file: Path, default_model: Path, astronaut: np.ndarray
) -> None:
    detector, classifier = open_detector("mediapipe", mediapipe_file), Classifier(default_model)
    frame = Frame(np.tile(astronaut[20:220, 120:320], (1, 2, 1)), 0, 0.0, "row")
    for options in ({"regions": (region("0,0,0.5,1"),)}, {"min_face_px": 500}):
        result = Pipeline(detector, classifier, **options).process(frame)
        assert len(result.faces) + len(result.unnamed) == 2
        assert len(result.faces) == (1 if "regions" in options else 0)


@pytest.mark.parametrize("shape", [(480, 640, 3), (200, 300, 3), (1, 1, 3), (720, 1280, 3)])
def test_a_frame_of_another_size_midway_begins_anew(
    pipeline: Pipeline, astronaut: np.ndarray, shape: tuple[int, ...]
) -> None:
    first = pipeline.process(Frame(astronaut, 0, 0.0, "camera"))
    other = pipeline.process(Frame(np.full(shape, 90, np.uint8), 1, 0.1, "camera"))
    assert (other.width_px, other.height_px, other.faces) == (shape[1], shape[0], ())
    back = pipeline.process(Frame(astronaut, 2, 0.2, "camera"))
    assert back.faces[0].track_id != first.faces[0].track_id


class Crowd:
    """A detector that knows where the faces of a tiled picture are: the real ones miss the small ones."""

    name, side_px, min_score = "crowd", 192, 0.6

    def detect(self, image: np.ndarray, *, faint: bool = False) -> list[Detection]:
        return [Detection(Box(150 * x + 30, 150 * y + 20, 90, 90), 0.9) for y in range(5) for x in range(8)]


def test_forty_faces_in_one_frame(default_model: Path, astronaut: np.ndarray) -> None:
    crowd = np.tile(cv2.resize(astronaut[20:220, 120:320], (150, 150)), (5, 8, 1))
    for max_faces in (16, 40):
        pipeline = Pipeline(Crowd(), Classifier(default_model), max_faces=max_faces)
        for index in range(3):
            result = pipeline.process(Frame(crowd, index, index / 30, "crowd"))
            assert [face.track_id for face in result.faces] == list(range(max_faces))
            assert len(result.unnamed) == 40 - max_faces


class Broken:
    """A detector that raises on the frames it is told to."""

    name, side_px, min_score = "broken", 192, 0.6

    def __init__(self, fails: range) -> None:
        self.fails, self.asked = fails, -1

    def detect(self, image: np.ndarray, *, faint: bool = False) -> list[Detection]:
        self.asked += 1
        if self.asked in self.fails:
            raise RuntimeError("out of\nmemory")
        return [Detection(Box(100, 100, 120, 120), 0.9)]


def test_a_detector_that_raises_costs_its_frame_only(
    default_model: Path, astronaut: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(Broken(range(2, 5)), Classifier(default_model))
    results = [pipeline.process(Frame(astronaut, index, index / 30, "camera")) for index in range(8)]
    assert [result.detected for result in results] == [True, True, False, False, False, True, True, True]
    assert pipeline.detector_failures == 3
    assert [record.getMessage() for record in caplog.records] == [
        "detector broken failed on a frame, which counts as not looked at: out of memory"
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["left_px", "width_px", "score"])
def test_a_detection_that_is_not_finite_counts_as_not_looked_at(default_model, astronaut, number, place) -> None:
    found = Detection(Box(100, 100, 120, 120), 0.9)
    bad = dataclasses.replace(found, score=number)
    if place != "score":
        bad = dataclasses.replace(found, box=dataclasses.replace(found.box, **{place: number}))
    detector = Broken(range(0))
    pipeline = Pipeline(detector, Classifier(default_model))
    results = []
    for index in range(6):
        detector.detect = lambda image, index=index, **how: [bad if index in (2, 3) else found]  # type: ignore[method-assign]
        results.append(pipeline.process(Frame(astronaut, index, index / 30, "camera")))
    assert [result.detected for result in results] == [True, True, False, False, True, True]
    assert pipeline.detector_failures == 2
    assert all(np.isfinite(face.box_px.left_px + face.box_px.width_px) for result in results for face in result.faces)


@pytest.mark.parametrize(
    ("box", "named"), [(Box(-9e9, -9e9, 2e10, 2e10), 0), (Box(600, 0, 9, 9), 0), (Box(-40, 9, 90, 90), 1)]
)
def test_what_is_no_face_of_this_picture_is_not_named(default_model, astronaut, box, named) -> None:
    detector = Broken(range(0))
    detector.detect = lambda image, **how: [Detection(box, 0.9)]  # type: ignore[method-assign]
    result = Pipeline(detector, Classifier(default_model)).process(Frame(astronaut, 0, 0.0, "camera"))
    assert len(result.faces) == named


def test_a_detector_that_always_raises_is_refused(default_model: Path, astronaut: np.ndarray) -> None:
    pipeline = Pipeline(Broken(range(1000)), Classifier(default_model))
    with pytest.raises(ModelError, match="30 frames in a row: out of memory"):
        for index in range(1000):
            pipeline.process(Frame(astronaut, index, index / 30, "camera"))
