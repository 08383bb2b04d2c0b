"""Crop, tracker, smoother and the pipeline they stand in."""

import dataclasses
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.arguments import ON_MOTION, region
from fer_edge.classifier import Classifier
from fer_edge.contract import DetectorMargin, FaceCrop, ModelContract
from fer_edge.crop import crop_box, crop_faces
from fer_edge.detectors import open_detector
from fer_edge.drawing import blur_faces
from fer_edge.errors import ModelError
from fer_edge.frames import Box, Detection, Frame, Keypoints, Point
from fer_edge.pipeline import Pipeline
from fer_edge.smoother import HysteresisSmoother
from fer_edge.tracker import IouTracker, intersection_over_union

boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0, 1200), st.floats(0, 1200))


def with_margin(contract: ModelContract, margin: float) -> ModelContract:
    return dataclasses.replace(contract, face_crop=dataclasses.replace(contract.face_crop, margin=margin))


def test_a_crop_is_the_grey_box_at_the_models_size(contract: ModelContract) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:98, 100:148] = (255, 0, 0)  # pure blue is 29 in grey
    (crop,) = crop_faces(image, [Detection(Box(100, 50, 48, 48), 1.0)], with_margin(contract, 0.0), "mediapipe")
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
    (crop,) = crop_faces(image, [Detection(Box(-30, -30, 60, 60), 1.0)], with_margin(contract, 0.0), "mediapipe")
    assert (crop == 200).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(box=boxes, height=st.integers(1, 300), width=st.integers(1, 300))
def test_any_box_gives_a_crop(contract: ModelContract, box: Box, height: int, width: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    (crop,) = crop_faces(image, [Detection(box, 1.0)], contract, "mediapipe")
    assert crop.shape == (48, 48)
    assert (crop == 77).all()


@pytest.mark.parametrize(
    "box", [Box(-1e6, -1e6, 2e6, 2e6), Box(1e9, 50, 1e9, 1e9), Box(0, 0, 1e300, 1), Box(-1e30, 0, 9, 9)]
)
def test_a_box_far_beyond_the_frame_costs_no_more_than_nine_frames(contract: ModelContract, box: Box) -> None:
    image = np.full((300, 400, 3), 77, np.uint8)
    tracemalloc.start()
    (crop,) = crop_faces(image, [Detection(box, 1.0)], contract, "mediapipe")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (crop == 77).all()
    assert peak < 12 * 300 * 400


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


def moved(step: int, faces: list[Detection], tracker: IouTracker, every: int) -> tuple[list[Detection], list[int]]:
    """One frame: detected each `every`-th time, else predicted."""
    return (faces, tracker.update(faces)) if step % every == 0 else tracker.predict()


def test_between_detections_a_face_goes_on_at_its_own_speed() -> None:
    tracker = IouTracker()
    for step in range(41):
        _, ids = moved(step, [at(6 * step, 3 * step)], tracker, every=5)
        assert ids == [0]
    # Found at 40; the four frames behind it are predicted.
    for step in range(41, 45):
        ((face,), _) = moved(step, [], tracker, every=5)
        assert (face.box.left_px, face.box.top_px) == pytest.approx((6 * step, 3 * step), abs=2)


def test_a_fast_face_keeps_its_track_where_overlap_alone_would_lose_it() -> None:
    """From one detection to the next it moves by more than its own size."""
    tracker = IouTracker()
    ids = {tracker.update([at(0)])[0], tracker.update([at(25)])[0], tracker.update([at(50)])[0]}
    for step in range(3, 30):
        _, seen = moved(step, [at(25 * step)], tracker, every=6)
        ids |= set(seen)
    assert ids == {0}


def test_keypoints_move_with_a_predicted_box() -> None:
    tracker = IouTracker()
    for x in (100, 110):
        tracker.update([Detection(Box(x, 50, 100, 100), 0.9, Keypoints.of([Point(x + 30, 90)] * 5))])
    ((face,), _) = tracker.predict()
    assert face.keypoints is not None
    assert face.box.left_px > 110
    assert face.keypoints.nose.x_px - face.box.left_px == pytest.approx(30)
    assert face.keypoints.nose.y_px == 90


def test_a_face_that_was_missed_is_not_predicted_any_more() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    tracker.update([])
    assert tracker.predict() == ([], [])


def test_a_face_told_to_hold_still_does() -> None:
    tracker = IouTracker()
    for step in range(5):
        tracker.update([at(10 * step)])
    tracker.hold()
    ((face,), _) = tracker.predict()
    assert face.box == at(40).box


def labelled(smoother: HysteresisSmoother, *rows: tuple[float, float]) -> list[int]:
    return [smoother.update([0], np.array([row], np.float32), {0})[1][0] for row in rows]


def test_smoothing_follows_slowly_and_starts_at_once() -> None:
    smoother = HysteresisSmoother(0.25)
    alive = {0}
    first, _ = smoother.update([0], np.array([[1.0, 0.0]], np.float32), alive)
    second, _ = smoother.update([0], np.array([[0.0, 1.0]], np.float32), alive)
    np.testing.assert_allclose(first, [[1, 0]])
    np.testing.assert_allclose(second, [[0.75, 0.25]])


def test_tracks_are_smoothed_apart_and_forgotten() -> None:
    smoother = HysteresisSmoother(0.5)
    smoother.update([0, 1], np.array([[1, 0], [0, 1]], np.float32), {0, 1})
    both, _ = smoother.update([1, 0], np.array([[0, 1], [1, 0]], np.float32), {0, 1})
    np.testing.assert_allclose(both, [[0, 1], [1, 0]])
    smoother.update([], np.zeros((0, 2), np.float32), set())
    np.testing.assert_allclose(smoother.update([0], np.array([[0, 1]], np.float32), {0})[0], [[0, 1]])


def test_a_label_does_not_flicker_between_two_close_calls() -> None:
    close = [(0.52, 0.48), (0.47, 0.53), (0.51, 0.49), (0.46, 0.54)] * 5
    assert set(labelled(HysteresisSmoother(1.0, 0.1), *close)) == {0}
    assert set(labelled(HysteresisSmoother(1.0, 0.0), *close)) == {0, 1}


def test_a_label_changes_once_another_is_clearly_more_likely() -> None:
    assert labelled(HysteresisSmoother(1.0, 0.1), (0.9, 0.1), (0.46, 0.54), (0.44, 0.56)) == [0, 0, 1]


@given(
    rows=st.lists(st.lists(st.floats(0, 1), min_size=7, max_size=7), min_size=1, max_size=30),
    share=st.floats(0, 1),
    hysteresis=st.floats(0, 1),
)
def test_the_label_is_never_less_likely_than_the_best_by_more_than_the_hysteresis(
    rows: list[list[float]], share: float, hysteresis: float
) -> None:
    smoother = HysteresisSmoother(share, hysteresis)
    for row in rows:
        averages, (label,) = smoother.update([0], np.array([row], np.float32), {0})
        assert averages[0].max() - averages[0][label] <= hysteresis + 1e-6
        assert (averages >= -1e-6).all() and (averages <= 1 + 1e-6).all()


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
    found = pipeline._detect(Frame(astronaut, 0, 0.0, "photo", small_bgr=small))
    assert found is not None and found[0].keypoints is not None
    nose = found[0].keypoints.nose
    assert (nose.x_px, nose.y_px) == pytest.approx((224, 130), abs=6)


def test_less_effort_reads_fewer_pixels_but_never_fewer_than_the_detector_takes(
    pipeline: Pipeline, astronaut: np.ndarray
) -> None:
    asked = counted(pipeline)
    (face,) = pipeline.process(Frame(astronaut, 0, 0.0, "photo")).faces
    pipeline.pixel_step = 3
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
