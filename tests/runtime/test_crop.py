"""Crops of faces: the box with its margin, in the model's size and colour, also where it lies outside the frame."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.contract import DetectorMargin, FaceCrop, ModelContract
from fer_edge.crop import crop_box, crop_faces
from fer_edge.frames import Box, Detection

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
