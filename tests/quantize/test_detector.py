"""YuNet as .tflite: the float file computes what the published one does, INT8 finds the same faces or is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from fer_edge.detectors import MADE_KEY, Detector, open_detector
from fer_edge.errors import DataError, ModelError, UsageError
from fer_edge.fetch import PublishedFile, fetch_detector
from fer_edge.frames import Box
from fer_edge.tracker import intersection_over_union

from boards.lab import main
from export.detector import Network, float_tflite, read_yunet
from export.metadata import put_text_in_tflite, read_tflite, write_tflite
from quantize.detector.job import MadeDetector, _images, equalized, int8_tflite, make_detector
from quantize.detector.scenes import BucketRecall, Portrait, portraits, recall_by_size, require_recall, scenes
from quantize.errors import GateError


@pytest.fixture(scope="module")
def network(yunet_file: Path) -> Network:
    return read_yunet(yunet_file)


@pytest.fixture(scope="module")
def portrait(yunet_file: Path, astronaut: np.ndarray) -> Portrait:
    (found,) = portraits([astronaut], open_detector("yunet", yunet_file))
    return found


@pytest.fixture(scope="module")
def made(yunet_file: Path, portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> MadeDetector:
    return make_detector(yunet_file, [portrait], 160, 128, tmp_path_factory.mktemp("made"))


def run(content: bytes, image: np.ndarray) -> list[np.ndarray]:
    reader = Interpreter(model_content=content)
    reader.allocate_tensors()
    reader.set_tensor(reader.get_input_details()[0]["index"], image[None].astype(np.float32))
    reader.invoke()
    return [reader.get_tensor(detail["index"]) for detail in reader.get_output_details()]


def test_the_float_file_finds_what_the_published_one_finds(
    network: Network, yunet_file: Path, astronaut: np.ndarray, tmp_path: Path
) -> None:
    source = {"source_sha256": "81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2"}
    file = tmp_path / "square.tflite"
    file.write_bytes(put_text_in_tflite(float_tflite(network, 320, 320), MADE_KEY, json.dumps(source)))
    (ours,), (theirs,) = (open_detector("yunet", path).detect(astronaut) for path in (file, yunet_file))
    assert ours.score == pytest.approx(theirs.score, abs=1e-4)
    assert ours.keypoints is not None and theirs.keypoints is not None
    edges = [(d.box.left_px, d.box.top_px, d.box.width_px, d.box.height_px) for d in (ours, theirs)]
    np.testing.assert_allclose(edges[0], edges[1], atol=0.01)
    points = [[(p.x_px, p.y_px) for p in d.keypoints.points] for d in (ours, theirs) if d.keypoints]
    np.testing.assert_allclose(points[0], points[1], atol=0.01)


@pytest.mark.parametrize("canvas", [(160, 100), (0, 32), (-32, 32), (33, 32)])
def test_a_canvas_of_other_sides_than_multiples_of_32_is_refused(network: Network, canvas: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        float_tflite(network, *canvas)


def test_equalizing_changes_the_weights_and_not_the_outputs(network: Network, portrait: Portrait) -> None:
    examples = scenes([portrait], 96, 64, count=3, seed=0)
    after = equalized(network, examples)
    assert any(
        not np.array_equal(a.weight, b.weight)
        for a, b in zip(network.layers, after.layers, strict=True)
        if a.weight is not None and b.weight is not None
    )
    image = scenes([portrait], 96, 64, count=1, seed=9)[0].image_bgr
    for old, new in zip(*(run(float_tflite(one, 96, 64), image) for one in (network, after)), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-3, atol=1e-3)


def test_int8_is_integer_from_the_pixels_to_the_maps(network: Network, portrait: Portrait) -> None:
    content = int8_tflite(float_tflite(network, 96, 64), scenes([portrait], 96, 64, count=8, seed=0))
    reader = Interpreter(model_content=content)
    assert {detail["dtype"] for detail in reader.get_tensor_details()} <= {np.int8, np.int32}
    scale, zero_point = reader.get_input_details()[0]["quantization"]
    assert (scale, zero_point) == (pytest.approx(1.0), -128), "the pixel minus 128"


def test_int8_finds_the_face_and_its_parts(made: MadeDetector, astronaut: np.ndarray) -> None:
    first, second = (open_detector("yunet", file).detect(astronaut) for file in (made.float_file, made.int8_file))
    assert len(first) == len(second) == 1
    assert intersection_over_union(first[0].box, second[0].box) > 0.85
    points = [[(p.x_px, p.y_px) for p in found.keypoints.points] for (found,) in (first, second) if found.keypoints]
    np.testing.assert_allclose(points[0], points[1], atol=6)


def test_frames_of_any_shape_fit_a_canvas_that_is_not_square(made: MadeDetector, astronaut: np.ndarray) -> None:
    frame = np.zeros((600, 900, 3), np.uint8)
    frame[40:552, 350:862] = astronaut
    (found,) = open_detector("yunet", made.int8_file).detect(frame)
    assert abs(found.box.left_px + found.box.width_px / 2 - 225 - 350) < 15
    assert open_detector("yunet", made.int8_file).detect(np.zeros((1, 500, 3), np.uint8)) == []


def test_recall_is_told_by_size(made: MadeDetector) -> None:
    assert [row.low_px for row in made.recall] == [10, 14, 20, 28, 40, 56, 80]
    large = made.recall[-1]
    assert large.found_float > 0.9 * large.faces
    assert large.found_int8 > 0.9 * large.faces


def test_a_detector_that_loses_faces_of_one_size_is_refused() -> None:
    well, bad = BucketRecall(40, 100, 99, 1, 0), BucketRecall(20, 100, 80, 20, 1)
    require_recall([well])
    with pytest.raises(GateError, match="finds 61 of 100 faces of 20 px and more, float 80"):
        require_recall([well, bad])


def test_sizes_beyond_the_canvas_are_not_judged() -> None:
    require_recall([BucketRecall(10, 140, 60, 20, 0)])


class Blind:
    name, side_px, min_score = "yunet", 160, 0.6

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list:
        return []


def test_a_blind_detector_does_not_pass(made: MadeDetector, portrait: Portrait) -> None:
    sighted, blind = open_detector("yunet", made.float_file), Blind()
    rows = recall_by_size(scenes([portrait], 160, 128, count=60, seed=5), sighted, blind)
    with pytest.raises(GateError):
        require_recall(rows)


def test_scenes_show_the_face_where_they_say(portrait: Portrait, yunet_file: Path) -> None:
    detector: Detector = open_detector("yunet", yunet_file)
    large = [one for one in scenes([portrait], 320, 256, count=40, seed=3) if one.face.width_px > 50]
    assert large
    for scene in large:
        assert any(intersection_over_union(found.box, scene.face) > 0.5 for found in detector.detect(scene.image_bgr))


def test_scenes_of_a_seed_are_the_same_each_time(portrait: Portrait) -> None:
    first, second = (scenes([portrait], 96, 64, count=4, seed=7) for _ in range(2))
    assert all(np.array_equal(a.image_bgr, b.image_bgr) for a, b in zip(first, second, strict=True))
    assert [one.face for one in first] == [one.face for one in second]


def test_pictures_without_a_face_are_no_calibration(yunet_file: Path) -> None:
    with pytest.raises(DataError, match="no picture with exactly one face"):
        portraits([np.zeros((64, 64, 3), np.uint8)], open_detector("yunet", yunet_file))


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", '{"source_sha256": "00"}', '{"source_sha256": [1]}'])
def test_a_tflite_that_was_not_made_of_the_published_file_is_refused(
    network: Network, tmp_path: Path, text: str | None
) -> None:
    content = float_tflite(network, 32, 32)
    file = tmp_path / "other.tflite"
    file.write_bytes(content if text is None else put_text_in_tflite(content, MADE_KEY, text))
    with pytest.raises(ModelError, match="SHA-256 is"):
        open_detector("yunet", file)


def test_a_file_of_another_detector_is_refused_with_its_name(made: MadeDetector, yunet_file: Path) -> None:
    for file in (made.int8_file, yunet_file):
        with pytest.raises(ModelError, match="found one of yunet"):
            open_detector("mediapipe", file)


def test_a_made_file_with_an_output_cut_off_is_refused(made: MadeDetector, tmp_path: Path) -> None:
    model = read_tflite(made.float_file.read_bytes())
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:-1]
    file = tmp_path / "cut.tflite"
    file.write_bytes(write_tflite(model))
    with pytest.raises(ModelError, match="no output kps_32"):
        open_detector("yunet", file)


@pytest.mark.parametrize("canvas", ["160", "160x100", "x", "0x0", "99999999x32", "-160x128"])
def test_the_command_refuses_a_bad_canvas(canvas: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-detector", "--", canvas]) == 2
    assert "multiples of 32" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["absent.png", "absent.mp4", "text.png"])
def test_the_command_names_a_picture_it_cannot_read(
    yunet_file: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    out = tmp_path / "out"
    words = ["--source", str(yunet_file), "--pictures", str(tmp_path / name), "--out", str(out)]
    assert main(["make-detector", "96x64", *words]) == 2
    assert name in capsys.readouterr().err
    assert not out.exists()


def test_the_command_takes_the_published_file_alone(made: MadeDetector, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make-detector", "96x64", "--source", str(made.float_file)]) == 2
    assert "expected the published .onnx" in capsys.readouterr().err


def test_a_small_face_beside_the_edge_stays_in_the_scene() -> None:
    portrait = Portrait(np.full((100, 100, 3), 200, np.uint8), Box(20, 20, 60, 60))
    for scene in scenes([portrait], 64, 96, count=30, seed=1):
        assert scene.image_bgr.shape == (96, 64, 3)
        assert scene.face.left_px >= -0.01 and scene.face.left_px + scene.face.width_px <= 64.01


def test_videos_give_each_fortieth_frame(clip: Path) -> None:
    frames = list(_images([clip]))
    assert len(frames) == 12
    assert all(isinstance(frame, np.ndarray) for frame in frames)
    assert not np.array_equal(cv2.resize(frames[0], (8, 8)), cv2.resize(frames[5], (8, 8)))


def test_without_a_canvas_the_command_makes_the_file_of_the_runtime(
    yunet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    monkeypatch.setattr("quantize.detector.job.DATA", tmp_path)
    assert main(["make-detector", "--source", str(yunet_file)]) == 0
    assert open_detector("auto", tmp_path / "yunet.int8.tflite").name == "yunet"
    told = capsys.readouterr().out
    assert all(f"canvas {size}" in told for size in ("64x64", "160x128", "320x256"))


def test_set_up_without_the_published_file_says_in_one_line_that_mediapipe_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("quantize.detector.job.fetch_detector", lambda name: fetch_detector(name, tmp_path))
    monkeypatch.setattr("fer_edge.fetch.YUNET", PublishedFile("http://127.0.0.1:9/absent.onnx", "0" * 64))
    assert main(["make-detector", "--or-mediapipe"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1 and "MediaPipe" in told[0]
    assert main(["make-detector"]) == 2, "asked for by hand, it is an error"
