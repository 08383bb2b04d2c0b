"""From faces to the tensor: size, colour order, range and layout as the contract says."""

import cv2
import numpy as np
import pytest

from fer_edge.contract import InputSpec
from fer_edge.preprocess import model_input

FACES = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


def spec(colour: str = "rgb", layout: str = "NHWC", dtype: str = "float32", **changes: object) -> InputSpec:
    fields = {
        "height_px": 20,
        "width_px": 24,
        "low": 0,
        "high": 255,
        "colour": colour,
        "layout": layout,
        "dtype": dtype,
    }
    return InputSpec(**{**fields, **changes})


@pytest.mark.parametrize(
    ("colour", "layout", "shape"),
    [
        ("grey", "NCHW", (3, 1, 20, 24)),
        ("grey", "NHWC", (3, 20, 24, 1)),
        ("rgb", "NCHW", (3, 3, 20, 24)),
        ("bgr", "NHWC", (3, 20, 24, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
@pytest.mark.parametrize("faces", [FACES, FACES[..., 0], FACES[:0]])
def test_the_tensor_has_the_contracts_shape_and_type(
    colour: str, layout: str, shape: tuple[int, ...], dtype: str, faces: np.ndarray
) -> None:
    tensor = model_input(faces, spec(colour, layout, dtype))
    assert tensor.shape == (len(faces), *shape[1:])
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous


def test_channels_are_in_the_order_of_the_contract() -> None:
    np.testing.assert_array_equal(model_input(FACES, spec("bgr", dtype="uint8")), FACES)
    np.testing.assert_array_equal(model_input(FACES, spec("rgb", dtype="uint8")), FACES[..., ::-1])
    planes = model_input(FACES, spec("rgb", "NCHW", "uint8"))
    np.testing.assert_array_equal(planes[1, 0], FACES[1, ..., 2])


def test_a_grey_face_has_three_equal_channels_for_a_model_of_colour() -> None:
    tensor = model_input(FACES[..., 0], spec("rgb", dtype="uint8"))
    for channel in range(3):
        np.testing.assert_array_equal(tensor[..., channel], FACES[..., 0])


def test_a_coloured_face_is_as_grey_as_opencv_makes_it() -> None:
    tensor = model_input(FACES, spec("grey", dtype="uint8"))
    np.testing.assert_array_equal(tensor[2, ..., 0], cv2.cvtColor(FACES[2], cv2.COLOR_BGR2GRAY))


def test_mean_and_std_are_of_each_channel_in_units_of_a_pixel() -> None:
    imagenet = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    tensor = model_input(FACES, spec("rgb", **imagenet))
    expected = (FACES[..., ::-1] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(tensor, expected, atol=1e-5)


def test_zero_to_one_is_a_mean_of_0_and_a_std_of_255() -> None:
    faces = np.array([[[0, 51, 255]]], dtype=np.uint8)
    unit = InputSpec(
        **{"height_px": 1, "width_px": 3, "low": 0, "high": 255, "colour": "grey", "layout": "NHWC"},
        **{"dtype": "float32", "mean": (0.0,), "std": (255.0,)},
    )
    np.testing.assert_allclose(model_input(faces, unit).ravel(), [0, 0.2, 1], atol=1e-6)


@pytest.mark.parametrize("side", [48, 64, 224])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_faces_of_another_size_are_resized_as_a_crop_is(side: int, colour: str) -> None:
    resized = model_input(FACES, spec(colour, dtype="uint8", height_px=side, width_px=side))
    first = cv2.resize(FACES[0], (side, side), interpolation=cv2.INTER_AREA)
    expected = first[..., ::-1] if colour == "rgb" else cv2.cvtColor(first, cv2.COLOR_BGR2GRAY)[..., None]
    np.testing.assert_array_equal(resized[0], expected)
