"""Alignment by five points: the similarity itself, the crop it gives, and what happens without keypoints."""

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.arguments import ON_MOTION
from fer_edge.contract import ModelContract
from fer_edge.crop import aligned, crop_faces, similarity
from fer_edge.detectors import Detector, open_detector
from fer_edge.frames import Box, Detection, Frame, Keypoints, Point
from fer_edge.pipeline import Pipeline

TEMPLATE = np.array([[30.0, 40.0], [70.0, 40.0], [50.0, 60.0], [36.0, 80.0], [64.0, 80.0]])


def moved(points: np.ndarray, degrees: float, scale: float, right: float, down: float) -> np.ndarray:
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return points @ np.array([[a, b], [-b, a]]) + (right, down)


def keypoints_at(points: np.ndarray) -> Keypoints:
    return Keypoints.of([Point(x, y) for x, y in points.tolist()])


def drawn_face(points: np.ndarray, size: tuple[int, int] = (400, 600)) -> np.ndarray:
    """A frame with a disc of its own colour at each of five points."""
    frame = np.full((*size, 3), 128, np.uint8)
    for number, (x, y) in enumerate(points.tolist()):
        cv2.circle(frame, (round(x), round(y)), 6, (40 * number, 255 - 40 * number, 20), -1)
    return frame


def aligned_contract(contract: ModelContract, colour: str = "bgr") -> ModelContract:
    face_crop = dataclasses.replace(contract.face_crop, alignment="five-point", template="arcface-112")
    spec = dataclasses.replace(contract.input, colour=colour, height_px=112, width_px=112)
    return dataclasses.replace(contract, input=spec, face_crop=face_crop).in_lowest_schema()


@given(st.floats(-180, 180), st.floats(0.1, 10), st.floats(-300, 300), st.floats(-300, 300))
def test_a_rotated_scaled_and_moved_face_comes_back_to_the_template(
    degrees: float, scale: float, right: float, down: float
) -> None:
    source = moved(TEMPLATE, degrees, scale, right, down)
    matrix = similarity(source, TEMPLATE)
    assert matrix is not None
    np.testing.assert_allclose(source @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-6)


def test_it_is_the_least_squares_similarity_of_opencv() -> None:
    source = moved(TEMPLATE, 25, 2, 100, 50) + np.random.default_rng(0).normal(0, 3, TEMPLATE.shape)
    found = similarity(source, TEMPLATE)
    # With every point an inlier and many refinements OpenCV minimises the same sum.
    theirs, _ = cv2.estimateAffinePartial2D(source, TEMPLATE, ransacReprojThreshold=1e3, refineIters=100)
    np.testing.assert_allclose(found, theirs, atol=1e-3)


def test_a_mirrored_face_is_turned_and_never_mirrored() -> None:
    matrix = similarity(TEMPLATE * (-1, 1), TEMPLATE)
    assert matrix is not None
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("degrees", [0, 30, -90, 170])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.7])
def test_the_crop_has_the_face_on_the_template(degrees: float, scale: float) -> None:
    points = moved(TEMPLATE - 50, degrees, scale, 300, 200)
    crop = aligned(drawn_face(points), keypoints_at(points), TEMPLATE, (100, 100))
    assert crop is not None
    assert crop.shape == (100, 100, 3)
    for number, (x, y) in enumerate(TEMPLATE.tolist()):
        found = crop[round(y), round(x)].astype(int)
        np.testing.assert_allclose(found, (40 * number, 255 - 40 * number, 20), atol=12)


def test_a_large_face_is_made_smaller_by_area_so_that_its_noise_averages_out() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3)).astype(np.uint8)
    crop = aligned(frame, keypoints_at(TEMPLATE * 16), TEMPLATE, (100, 100))
    assert crop is not None
    assert float(crop.std()) < 10  # one pixel of the frame for each of the crop would keep 74


def test_four_points_meet_the_middle_of_the_templates_mouth() -> None:
    points = moved(TEMPLATE - 50, 20, 2, 300, 200)
    four = np.vstack([points[:3], points[3:].mean(axis=0)])
    frame = drawn_face(points)
    of_five, of_four = (aligned(frame, keypoints_at(p), TEMPLATE, (100, 100)) for p in (points, four))
    np.testing.assert_allclose(of_four, of_five, atol=2)


def test_keypoints_in_one_place_give_no_crop() -> None:
    assert aligned(drawn_face(TEMPLATE), keypoints_at(np.full((5, 2), 7.0)), TEMPLATE, (100, 100)) is None


@settings(max_examples=60)
@given(
    points=st.lists(st.tuples(st.floats(-2000, 4000), st.floats(-2000, 4000)), min_size=5, max_size=5),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
)
def test_any_keypoints_give_a_crop_of_the_frames_own_pixels_or_none(
    points: list[tuple[float, float]], height: int, width: int
) -> None:
    crop = aligned(np.full((height, width, 3), 77, np.uint8), keypoints_at(np.array(points)), TEMPLATE, (48, 64))
    assert crop is None or (crop.shape == (48, 64, 3) and (crop == 77).all())


@pytest.mark.parametrize(("colour", "shape"), [("grey", (1, 112, 112)), ("rgb", (1, 112, 112, 3))])
def test_a_contract_with_alignment_gets_aligned_crops(contract: ModelContract, colour: str, shape: tuple[int]) -> None:
    model = aligned_contract(contract, colour)
    template = model.face_crop.template_px(112, 112)
    points = moved(template - 56, 40, 1.5, 300, 200)
    face = Detection(Box(0, 0, 10, 10), 0.9, keypoints_at(points))
    crops = crop_faces(drawn_face(points), [face], model, "yunet")
    assert crops.shape == shape
    x, y = template[4].round().astype(int)
    seen = (160, 95, 20) if colour == "rgb" else cv2.cvtColor(np.uint8([[(160, 95, 20)]]), cv2.COLOR_BGR2GRAY)[0, 0]
    np.testing.assert_allclose(crops[0, y, x].astype(int), seen, atol=12)


def test_a_face_without_keypoints_is_cut_out_by_its_box(contract: ModelContract) -> None:
    frame = drawn_face(TEMPLATE)
    model, boxed = (
        aligned_contract(contract),
        dataclasses.replace(aligned_contract(contract), face_crop=contract.face_crop),
    )
    for keypoints in (None, keypoints_at(np.full((5, 2), 7.0))):
        face = Detection(Box(20, 20, 60, 60), 0.9, keypoints)
        np.testing.assert_array_equal(crop_faces(frame, [face], model, "x"), crop_faces(frame, [face], boxed, "x"))


@pytest.mark.parametrize("name", ["mediapipe", "yunet"])
def test_a_tilted_photograph_is_upright_in_the_crop(
    name: str, astronaut: np.ndarray, contract: ModelContract, request: pytest.FixtureRequest
) -> None:
    detector = open_detector(name, request.getfixturevalue(f"{name}_file"))
    tilted = cv2.warpAffine(astronaut, cv2.getRotationMatrix2D((256, 200), 15, 1), (512, 512))

    def likeness(model: ModelContract) -> float:
        """How much the crop of the tilted face is that of the upright one."""
        first, second = (
            crop_faces(picture, detector.detect(picture)[:1], model, name)[0].astype(float)
            for picture in (astronaut, tilted)
        )
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    model = aligned_contract(contract)
    aligned_likeness = likeness(model)
    boxed_likeness = likeness(dataclasses.replace(model, face_crop=contract.face_crop))
    # YuNet sees less tilt than there is, so that some of it remains.
    assert aligned_likeness > boxed_likeness + 0.1, (aligned_likeness, boxed_likeness)


def likeness_of(crop: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(crop.ravel(), other.ravel())[0, 1])


class Recording:
    """A classifier that keeps the crops it was given and names all of them alike."""

    def __init__(self, contract: ModelContract) -> None:
        self.contract = contract
        self.crops: list[np.ndarray] = []

    def classify_each(self, crops: np.ndarray) -> list[np.ndarray]:
        self.crops += list(crops)
        return [np.full(len(self.contract.labels), 1 / len(self.contract.labels), np.float32) for _ in crops]


def moving(astronaut: np.ndarray, frames: int) -> Iterator[Frame]:
    """A face that moves by 6 pixels to the right and 2 down in every frame, of a turned picture."""
    turn = cv2.getRotationMatrix2D((256, 256), 12, 1.0)
    for index in range(frames):
        shift = turn + np.array([[0, 0, 6 * index], [0, 0, 2 * index]])
        image = cv2.warpAffine(astronaut, shift, (640, 512), borderMode=cv2.BORDER_REPLICATE)
        yield Frame(image, index, index / 25, "clip")


def test_between_detections_the_keypoints_move_with_the_face(
    contract: ModelContract, detector: Detector, astronaut: np.ndarray
) -> None:
    """Detected in each fourth frame only, a face is cut out as if it were detected in all of them."""
    every, fourth = Recording(aligned_contract(contract)), Recording(aligned_contract(contract))
    pipelines = Pipeline(detector, every), Pipeline(detector, fourth, detect_when=4)
    for frame in moving(astronaut, 16):
        for pipeline in pipelines:
            assert len(pipeline.process(frame).faces) == 1
    # Left where they were found, the keypoints would give 0.4 in the frame before the next detection.
    alike = [likeness_of(one, other) for one, other in zip(every.crops, fourth.crops, strict=True)]
    assert min(alike[8:]) > 0.75, "its speed is known by then"


def test_where_nothing_moves_a_held_face_is_cut_out_where_it_was(
    contract: ModelContract, detector: Detector, astronaut: np.ndarray
) -> None:
    recording = Recording(aligned_contract(contract))
    pipeline = Pipeline(detector, recording, detect_when=ON_MOTION)
    for index in range(6):
        pipeline.process(Frame(astronaut, index, index / 25, "clip"))
    assert len(recording.crops) == 6
    assert all((crop == recording.crops[0]).all() for crop in recording.crops)


def test_a_camera_that_gives_a_smaller_picture_for_detection_is_cut_out_of_the_large_one(
    contract: ModelContract, detector: Detector, astronaut: np.ndarray
) -> None:
    crops = []
    for small in (None, cv2.resize(astronaut, (320, 320), interpolation=cv2.INTER_AREA)):
        recording = Recording(aligned_contract(contract))
        Pipeline(detector, recording).process(Frame(astronaut, 0, 0.0, "camera", small_bgr=small))
        crops += recording.crops
    assert likeness_of(*crops) > 0.9
