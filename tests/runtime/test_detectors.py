"""Detectors on a real photograph, and their geometry on made-up numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fer_edge.detectors import Detector, open_detector
from fer_edge.detectors.geometry import detections_in_frame, letterbox, within_reach
from fer_edge.detectors.yunet import YuNetDetector
from fer_edge.errors import ModelError, UsageError
from fer_edge.frames import Box, Detection, Keypoints, Point

# Where the astronaut's face is, in pixels of the photograph.
FACE_CENTRE_PX = (225, 120)


def test_finds_the_face_of_the_astronaut_and_no_other(detector: Detector, astronaut: np.ndarray) -> None:
    (found,) = detector.detect(astronaut)
    centre = (found.box.left_px + found.box.width_px / 2, found.box.top_px + found.box.height_px / 2)
    assert np.hypot(centre[0] - FACE_CENTRE_PX[0], centre[1] - FACE_CENTRE_PX[1]) < 15
    assert 70 < found.box.width_px < 130
    assert found.score > 0.8


def test_keypoints_are_the_eyes_the_nose_and_the_mouth_of_the_astronaut(
    detector: Detector, astronaut: np.ndarray
) -> None:
    (found,) = detector.detect(astronaut)
    assert found.keypoints is not None
    seen = (found.keypoints.right_eye, found.keypoints.left_eye, found.keypoints.nose, found.keypoints.mouth)
    true = ((203, 104), (247, 105), (224, 130), (222, 147))
    np.testing.assert_allclose([(p.x_px, p.y_px) for p in seen], true, atol=6)


def test_the_corners_of_the_mouth_are_known_to_yunet_alone(detector: Detector, astronaut: np.ndarray) -> None:
    (found,) = detector.detect(astronaut)
    assert found.keypoints is not None
    if detector.name == "mediapipe":
        assert found.keypoints.mouth_corners is None
    else:
        assert found.keypoints.mouth_corners is not None
        right, left = found.keypoints.mouth_corners
        np.testing.assert_allclose([(p.x_px, p.y_px) for p in (right, left)], [(205, 145), (243, 145)], atol=6)


def test_boxes_follow_the_picture(detector: Detector, astronaut: np.ndarray) -> None:
    """A frame of other proportions, with the face elsewhere: the box is in that frame's pixels."""
    frame = np.zeros((600, 900, 3), np.uint8)
    frame[40:552, 350:862] = astronaut
    (found,) = detector.detect(frame)
    assert abs(found.box.left_px + found.box.width_px / 2 - FACE_CENTRE_PX[0] - 350) < 15
    assert abs(found.box.top_px + found.box.height_px / 2 - FACE_CENTRE_PX[1] - 40) < 15


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (1, 500), (333, 7)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_picture_of_any_size_has_no_face(detector: Detector, shape: tuple[int, int], value: int) -> None:
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_a_high_minimum_score_finds_nothing(mediapipe_file: Path, astronaut: np.ndarray) -> None:
    assert open_detector("mediapipe", mediapipe_file, min_score=0.999).detect(astronaut) == []


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(UsageError, match="there are: auto, mediapipe, yunet, none"):
        open_detector("haar")


def test_an_absent_file_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fer-edge models --fetch yunet"):
        open_detector("yunet", tmp_path / "yunet.onnx")


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match="SHA-256 is"):
        open_detector("yunet", tmp_path / "yunet.onnx")


sides = st.integers(1, 700)
canvas_sides = st.integers(1, 10).map(lambda steps: 32 * steps)


@given(sides, sides, canvas_sides, canvas_sides)
def test_letterbox_keeps_proportions_and_maps_back(width: int, height: int, canvas_w: int, canvas_h: int) -> None:
    fitted = letterbox(np.full((height, width, 3), 255, np.uint8), canvas_w, canvas_h)
    assert fitted.image_bgr.shape == (canvas_h, canvas_w, 3)
    corners = np.array([[fitted.left_px, fitted.top_px, width * fitted.scale, height * fitted.scale]], np.float32)
    points = corners[:, None, :2].repeat(4, axis=1)
    (whole,) = detections_in_frame(corners, np.array([0.9], np.float32), points, fitted, 0.5)
    np.testing.assert_allclose(
        [whole.box.left_px, whole.box.top_px, whole.box.width_px, whole.box.height_px],
        [0, 0, width, height],
        atol=0.02,
    )
    assert whole.keypoints is not None
    np.testing.assert_allclose([(p.x_px, p.y_px) for p in whole.keypoints.points], 0, atol=0.02)


@given(
    st.integers(200, 1500), st.integers(200, 1500), canvas_sides, canvas_sides, st.floats(0.2, 0.8), st.floats(0.2, 0.8)
)
def test_what_is_in_the_picture_is_found_at_its_place_in_the_letterbox(
    width: int, height: int, canvas_w: int, canvas_h: int, across: float, down: float
) -> None:
    """Sides that cannot be halved evenly lose a few pixels at the edge, and nothing moves."""
    scale = min(canvas_w / width, canvas_h / height)
    x, y, radius = round(width * across), round(height * down), max(round(4 / scale), 1)
    assume(radius <= x < width - radius and radius <= y < height - radius)
    picture = np.full((height, width, 3), 60, np.uint8)
    cv2.circle(picture, (x, y), radius, (250, 250, 250), -1)
    fitted = letterbox(picture, canvas_w, canvas_h)
    rows, columns = np.nonzero(fitted.image_bgr[:, :, 0] > 150)
    assert abs((columns.mean() + 0.5 - fitted.left_px) / fitted.scale - (x + 0.5)) < 1.5 / scale
    assert abs((rows.mean() + 0.5 - fitted.top_px) / fitted.scale - (y + 0.5)) < 1.5 / scale


def test_fine_stripes_are_averaged_away_not_sampled() -> None:
    """Columns of one pixel, black and white: small, the picture is grey."""
    stripes = np.zeros((480, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(letterbox(stripes, 160, 120).image_bgr) <= 1


def test_overlapping_boxes_leave_the_best() -> None:
    fitted = letterbox(np.zeros((192, 192, 3), np.uint8), 192, 192)
    boxes = np.array([[10, 10, 50, 50], [12, 11, 50, 50], [120, 120, 30, 30], [10, 10, 50, 50]], np.float32)
    points = np.tile(boxes[:, None, :2], (1, 5, 1))
    found = detections_in_frame(boxes, np.array([0.7, 0.9, 0.8, 0.2], np.float32), points, fitted, 0.6)
    assert [round(d.score, 1) for d in found] == [0.9, 0.8]
    assert found[0].box.left_px == pytest.approx(12)
    assert [d.keypoints.nose.x_px for d in found if d.keypoints] == pytest.approx([12, 120])


def test_a_grey_photograph_is_found_too(mediapipe_file: Path, astronaut: np.ndarray) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert len(open_detector("mediapipe", mediapipe_file).detect(grey)) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_network_that_overflows_has_not_looked(detector: Detector, astronaut: np.ndarray, number: float) -> None:
    """NaN in all scores would otherwise be "no face", and the picture would be shown."""
    holder = detector._network_for(astronaut) if isinstance(detector, YuNetDetector) else detector
    engine = holder._engine  # type: ignore[attr-defined]
    run = engine.run
    blank = np.zeros(engine.input.shape, engine.input.dtype)
    overflown = [np.full(output.shape, number, np.float32) for output in run(blank)]
    engine.run = lambda tensor: overflown
    try:
        with pytest.raises(ValueError, match="not finite"):
            detector.detect(astronaut)
    finally:
        engine.run = run


def test_a_box_that_is_not_finite_is_refused() -> None:
    fitted = letterbox(np.zeros((192, 192, 3), np.uint8), 192, 192)
    with pytest.raises(ValueError, match="a box is not finite"):
        detections_in_frame(np.full((1, 4), np.inf), np.array([0.9]), np.zeros((1, 4, 2)), fitted, 0.6)


finite = st.floats(-1e12, 1e12)


@given(finite, finite, finite, finite, st.integers(1, 2000), st.integers(1, 2000))
def test_boxes_within_reach_touch_the_picture_and_end_one_picture_beyond_it(left, top, width, height, w, h) -> None:
    for found in within_reach([Detection(Box(left, top, width, height), 0.9)], w, h):
        box = found.box
        assert -w <= box.left_px < w and 0 < box.left_px + box.width_px <= 2 * w + 1e-3
        assert -h <= box.top_px < h and 0 < box.top_px + box.height_px <= 2 * h + 1e-3
        assert box.width_px > 0 and box.height_px > 0


def test_an_honest_box_is_left_as_it_is() -> None:
    found = [Detection(Box(-20.25, 10.5, 70.125, 80.75), 0.9)]
    assert within_reach(found, 640, 480) == found


def keypoints_at(x: float, y: float) -> Keypoints:
    return Keypoints.of([Point(x, y)] * 5)


@pytest.mark.parametrize("x", [float("nan"), float("inf"), -641.0, 1281.0])
def test_keypoints_that_are_nowhere_are_dropped_and_the_face_is_kept(x: float) -> None:
    (kept,) = within_reach([Detection(Box(0, 0, 90, 90), 0.9, keypoints_at(x, 20))], 640, 480)
    assert kept == Detection(Box(0, 0, 90, 90), 0.9)


def test_keypoints_stay_with_a_box_that_is_cut_off() -> None:
    (kept,) = within_reach([Detection(Box(-900, 0, 1000, 90), 0.9, keypoints_at(30, 20))], 640, 480)
    assert kept.box == Box(-640, 0, 740, 90)
    assert kept.keypoints == keypoints_at(30, 20)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0.1, 10), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_mapped_keypoints_are_scaled_then_moved(x: float, y: float, scale: float, right: float, down: float) -> None:
    mapped = keypoints_at(x, y).mapped(scale, right, down)
    for point in (*mapped.points, mapped.mouth):
        assert (point.x_px, point.y_px) == pytest.approx((x * scale + right, y * scale + down))


def test_four_keypoints_stay_four_when_they_are_mapped() -> None:
    four = Keypoints.of([Point(1, 1), Point(3, 1), Point(2, 2), Point(2, 3)])
    assert four.mapped(2.0).mouth == Point(4, 6)
    assert four.mapped(2.0).mouth_corners is None
