"""The default detector: which one it is, and one file for pictures of every shape."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import detectors
from fer_edge.detectors import default_detector, open_detector
from fer_edge.detectors.canvas import STEP_PX, Canvas, with_canvas
from fer_edge.detectors.yunet import YuNetDetector
from fer_edge.errors import ModelError
from fer_edge.tflite_file import input_shape, with_sizes
from fer_edge.tracker import intersection_over_union


@pytest.mark.parametrize(
    ("picture", "side_px", "canvas"),
    [
        ((640, 480), 160, (160, 128)),
        ((640, 480), 320, (320, 256)),
        ((1280, 720), 320, (320, 192)),
        ((480, 640), 160, (128, 160)),
        ((512, 512), 160, (160, 160)),
        ((5000, 1), 160, (160, 32)),
    ],
)
def test_the_canvas_has_the_aspect_of_the_picture(
    picture: tuple[int, int], side_px: int, canvas: tuple[int, int]
) -> None:
    assert Canvas.fitting(*picture, side_px) == Canvas(*canvas)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 20))
def test_the_picture_fits_and_no_smaller_canvas_would_do(width: int, height: int, steps: int) -> None:
    side_px = steps * STEP_PX
    canvas, scale = Canvas.fitting(width, height, side_px), side_px / max(width, height)
    for side, drawn in ((canvas.width_px, width * scale), (canvas.height_px, height * scale)):
        assert side % STEP_PX == 0
        assert drawn <= side + 1e-6 and side - drawn < STEP_PX


def test_one_file_finds_the_face_on_every_canvas(made_yunet_file: Path, astronaut: np.ndarray) -> None:
    detector = open_detector("yunet", made_yunet_file)
    assert isinstance(detector, YuNetDetector)
    boxes = []
    for side_px in (128, 160, 224, 320, 416):
        detector.side_px = side_px
        (found,) = detector.detect(astronaut)
        boxes.append(found.box)
    assert all(intersection_over_union(boxes[-1], box) > 0.7 for box in boxes)


def test_a_file_laid_out_anew_computes_what_one_made_for_that_canvas_computes(made_yunet_file: Path) -> None:
    data = made_yunet_file.read_bytes()
    there = with_canvas(data, Canvas(96, 64), "file")
    assert input_shape(there, "file") == (1, 64, 96, 3)
    assert with_canvas(there, Canvas(320, 256), "file") == data, "and back: nothing but sizes was changed"


@pytest.mark.parametrize("canvas", [Canvas(160, 100), Canvas(0, 32), Canvas(4096, 32), Canvas(-32, 32)])
def test_an_impossible_canvas_is_refused(made_yunet_file: Path, canvas: Canvas) -> None:
    with pytest.raises(ModelError, match="expected multiples of 32"):
        with_canvas(made_yunet_file.read_bytes(), canvas, "file")


def test_a_classifier_has_no_canvas(default_model: Path) -> None:
    with pytest.raises(ModelError, match="Is it YuNet"):
        with_canvas(default_model.read_bytes(), Canvas(96, 64), "file")


def test_networks_of_canvases_no_longer_used_are_let_go(made_yunet_file: Path) -> None:
    detector = open_detector("yunet", made_yunet_file)
    assert isinstance(detector, YuNetDetector)
    for height in range(60, 600, 60):
        detector.detect(np.zeros((height, 600, 3), np.uint8))
    assert len(detector._networks) <= 4


def test_auto_is_yunet_where_its_file_was_made(
    made_yunet_file: Path, mediapipe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert default_detector() == "yunet"
    assert open_detector("auto").name == "yunet"
    (tmp_path / mediapipe_file.name).write_bytes(mediapipe_file.read_bytes())
    monkeypatch.setattr(detectors, "DATA", tmp_path)
    assert default_detector() == "mediapipe"
    assert open_detector("auto").name == "mediapipe"


def test_auto_takes_the_detector_whose_file_is_given(mediapipe_file: Path, yunet_file: Path, tmp_path: Path) -> None:
    assert open_detector("auto", mediapipe_file).name == "mediapipe"
    assert open_detector("auto", yunet_file).name == "yunet"
    (tmp_path / "other.tflite").write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="not a TFLite model"):
        open_detector("auto", tmp_path / "other.tflite")
    with pytest.raises(ModelError, match="detector file not found"):
        open_detector("auto", tmp_path / "absent.onnx")


def test_a_damaged_file_is_refused_or_laid_out_as_long_as_before(made_yunet_file: Path) -> None:
    """Whatever stands in it: sizes are only written where sizes were read."""
    data, random = made_yunet_file.read_bytes(), np.random.default_rng(0)
    outcomes = []
    for _ in range(150):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 4):
            damaged[place] = random.integers(256)
        try:
            outcomes.append(len(with_canvas(bytes(damaged), Canvas(96, 64), "file")) == len(data))
        except ModelError:
            outcomes.append(True)
    assert all(outcomes)


def test_a_size_that_is_no_longer_a_number_of_32_bits_is_refused(made_yunet_file: Path) -> None:
    data = made_yunet_file.read_bytes()
    with pytest.raises(ModelError, match="a size out of range"):
        with_sizes(data, "file", lambda sizes: tuple(size << 31 for size in sizes))
