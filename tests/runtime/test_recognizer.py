"""The public Python API."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import fer_edge
from fer_edge.models import DEFAULT_MODEL

from tests.conftest import sample


@pytest.fixture(scope="module")
def recognizer() -> fer_edge.Recognizer:
    return fer_edge.Recognizer()


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return cv2.imread(str(sample("astronaut.png")))


def test_a_photograph_gives_its_faces(recognizer, photograph):
    (face,) = recognizer(photograph)
    assert face.expression == "happy" and face.confidence > 0.9 and face.score > 0.5
    assert 0 < face.box_px.left_px < photograph.shape[1]
    assert dict(zip(face.labels, face.probabilities, strict=True))["happy"] == pytest.approx(face.confidence)


def test_a_face_is_a_dictionary_as_in_a_line_of_jsonl(recognizer, photograph):
    (face,) = recognizer(photograph)
    found = face.to_dict()
    assert set(found) == {"box_px", "score", "track_id", "expression", "confidence", "probabilities"}
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    (result,) = recognizer.stream(sample("astronaut.png"))
    assert result.to_dict()["faces"][0]["probabilities"] == found["probabilities"]


def test_pictures_are_judged_alone(recognizer, photograph):
    first, other, again = (recognizer(image)[0] for image in (photograph, photograph[:, ::-1].copy(), photograph))
    assert first.probabilities == again.probabilities != other.probabilities


def test_a_picture_without_a_face_gives_none(recognizer):
    assert recognizer(np.zeros((120, 160, 3), np.uint8)) == ()


def test_a_video_is_tracked_and_read_as_fast_as_it_goes(recognizer):
    stream = recognizer.stream(str(sample("WolfgangLanger_Pexels.mp4")))
    results = [next(stream) for _ in range(8)]
    stream.close()
    assert [result.frame_index for result in results] == list(range(8))
    assert len({face.track_id for result in results for face in result.faces}) == 1


def test_several_pictures_are_a_stream(recognizer):
    path = sample("astronaut.png")
    assert [result.source for result in recognizer.stream([path, path])] == [str(path)] * 2


def test_frames_come_with_their_pictures(recognizer):
    ((frame, result),) = recognizer.frames(sample("astronaut.png"))
    assert frame.image_bgr.shape == (result.height_px, result.width_px, 3)


def test_a_picture_may_be_looked_at_while_a_stream_runs(recognizer, photograph):
    stream = recognizer.stream(sample("WolfgangLanger_Pexels.mp4"))
    before = next(stream)
    recognizer(photograph)
    after = next(stream)
    stream.close()
    assert {face.track_id for face in before.faces} == {face.track_id for face in after.faces}


def test_a_source_that_is_not_there_is_an_error_of_one_line(recognizer):
    with pytest.raises(fer_edge.FerEdgeError, match="no such file"):
        next(recognizer.stream("nowhere.mp4"))


def test_annotate_draws_into_a_copy(recognizer, photograph):
    faces = recognizer(photograph)
    before = photograph.copy()
    drawn = fer_edge.annotate(photograph, faces)
    assert drawn.shape == photograph.shape and (drawn != photograph).any() and (photograph == before).all()
    ((frame, result),) = recognizer.frames(sample("astronaut.png"))
    assert (fer_edge.annotate(frame.image_bgr, result) == drawn).all()


def test_annotate_can_hide_the_faces(recognizer, photograph):
    faces = recognizer(photograph)
    hidden = fer_edge.annotate(photograph, faces, hide_faces=True)
    assert recognizer(hidden) == ()


def test_annotate_takes_a_picture_without_faces(photograph):
    assert (fer_edge.annotate(photograph, ()) == photograph).all()


@pytest.mark.parametrize(
    "picture",
    [
        "photo.jpg",
        None,
        np.zeros((48, 48), np.uint8),
        np.zeros((48, 48, 3), np.float32),
        np.zeros((48, 48, 4), np.uint8),
        np.zeros((0, 48, 3), np.uint8),
    ],
    ids=["path", "nothing", "grey", "float", "alpha", "empty"],
)
def test_what_is_no_picture_is_refused_with_what_was_expected(recognizer, picture):
    with pytest.raises(ValueError, match=r"expected a picture .*\(height, width, 3\) uint8.*found"):
        recognizer(picture)
    with pytest.raises(ValueError, match="expected a picture"):
        fer_edge.annotate(picture, ())


def test_the_contract_of_a_file_can_be_read(recognizer):
    contract = fer_edge.load_contract(DEFAULT_MODEL)
    assert contract == recognizer.contract
    assert contract.labels[3] == "happy"


def test_a_file_without_a_contract_is_refused(tmp_path: Path):
    (tmp_path / "x.tflite").write_bytes(b"no model")
    with pytest.raises(fer_edge.FerEdgeError):
        fer_edge.load_contract(tmp_path / "x.tflite")


def test_everything_public_is_there_and_documented():
    for name in fer_edge.__all__:
        assert name == "__version__" or getattr(fer_edge, name).__doc__, name
    assert set(fer_edge.__all__) <= set(dir(fer_edge))
    with pytest.raises(AttributeError, match="no attribute 'recogniser'"):
        _ = fer_edge.recogniser


@pytest.mark.parametrize("module", ["fer_edge", "fer_edge.cli", "fer_edge.options"])
def test_importing_loads_neither_numpy_nor_opencv(module):
    script = f"import sys, {module}; sys.exit(bool({{'numpy', 'cv2', 'ai_edge_litert'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_notebooks_show_a_table(recognizer, photograph):
    (face,) = recognizer(photograph)
    assert "<b>happy</b>" in face._repr_html_()
    (result,) = recognizer.stream(sample("astronaut.png"))
    assert "<table>" in result._repr_html_()
