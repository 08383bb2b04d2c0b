"""Pictures of datasets as grey 48x48 faces, and the one line each damaged file gets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.frames import Box

from train.data.readers import pictures


@pytest.fixture
def scene() -> np.ndarray:
    """Dark, with a bright square from (40, 20) to (80, 60)."""
    image = np.zeros((100, 120), np.uint8)
    image[20:60, 40:80] = 200
    return image


def test_a_face_is_its_box_at_48_pixels(scene: np.ndarray) -> None:
    face = pictures.face_in(scene, Box(40, 20, 40, 40))
    assert (face.shape, face.dtype) == ((48, 48), np.uint8)
    assert (face == 200).all()


def test_a_box_that_is_not_square_is_squared_around_its_centre(scene: np.ndarray) -> None:
    face = pictures.face_in(scene, Box(50, 20, 20, 40))
    assert (face == 200).all(), "its longer side is 40, and all of that is bright"
    wider = pictures.face_in(scene, Box(40, 30, 40, 20))
    assert (wider == 200).all()


def test_without_a_box_the_whole_picture_is_the_face(scene: np.ndarray) -> None:
    face = pictures.face_in(scene)
    assert face.shape == (48, 48)
    assert face[24, 24] > 100 > face[2, 2]


def test_what_lies_outside_the_picture_repeats_its_edge(scene: np.ndarray) -> None:
    scene[:] = 90
    assert (pictures.face_in(scene, Box(-20, -20, 60, 60)) == 90).all()


@pytest.mark.parametrize(
    "box",
    [Box(120, 0, 10, 10), Box(0, 100, 10, 10), Box(-10, 0, 10, 10), Box(0, -10, 10, 10), Box(0, 0, 0, 5)],
    ids=["right", "below", "left", "above", "empty"],
)
def test_a_box_beside_the_picture_is_refused_with_both_sizes(scene: np.ndarray, box: Box) -> None:
    with pytest.raises(DataError, match=r"list\.csv, row 7: a box of .* has no part of the picture of 120x100"):
        pictures.face_in(scene, box, "list.csv, row 7")


def test_the_face_around_landmarks_has_some_forehead() -> None:
    points = np.stack([np.linspace(100, 200, 68), np.linspace(300, 400, 68)], axis=1)
    box = pictures.box_of_landmarks(points, "x.pts")
    assert box == Box(90, 280, 120, 130)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((67, 2)), r"landmarks of shape \(67, 2\), expected 68 points"),
        (np.full((68, 2), np.nan), "expected 68 points"),
        (np.zeros((68, 2)), "have no extent"),
        (np.stack([np.arange(68.0), np.zeros(68)], axis=1), "have no extent"),
    ],
)
def test_landmarks_that_are_no_face_are_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=rf"x\.pts: .*{message}"):
        pictures.box_of_landmarks(points, "x.pts")


def test_the_largest_face_is_found(astronaut: np.ndarray, mediapipe_file: Path) -> None:
    grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)
    box = pictures.detected_face(grey)
    assert box is not None
    assert 150 < box.left_px + box.width_px / 2 < 300 and box.top_px + box.height_px / 2 < 250
    both = np.hstack([grey, cv2.resize(grey, (256, 512), interpolation=cv2.INTER_AREA)])
    larger = pictures.detected_face(both)
    assert larger is not None and larger.left_px < 512
    assert pictures.detected_face(np.zeros((200, 200), np.uint8)) is None


def test_a_picture_is_read_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((5, 7, 3), (255, 0, 0), np.uint8))
    image = pictures.read_picture(tmp_path / "a.png")
    assert image.shape == (5, 7)
    assert (image == 29).all()


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_picture_that_cannot_be_read_names_its_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png.*Is the dataset complete\?"):
        pictures.read_picture(tmp_path / "a.png")


def test_files_are_in_the_order_of_their_numbers() -> None:
    names = ["10.jpg", "2.jpg", "1.jpg", "frame-3-b.jpg", "frame-3-a.jpg", "frame-21.jpg"]
    ordered = [path.name for path in pictures.in_order(map(Path, names))]
    assert ordered[:3] == ["1.jpg", "2.jpg", "10.jpg"]
    assert ordered[3:] == ["frame-3-a.jpg", "frame-3-b.jpg", "frame-21.jpg"]


def test_a_text_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone,two\n3,4\n")
    assert pictures.text_of(tmp_path / "a.txt") == "one,two\n3,4\n"
    assert pictures.rows_of(tmp_path / "a.txt") == [["one", "two"], ["3", "4"]]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00x"])
def test_a_text_that_is_none_names_its_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    for read in (pictures.text_of, pictures.rows_of):
        with pytest.raises(DataError, match=r"a\.csv: not a readable text file"):
            read(tmp_path / "a.csv")


def test_a_folder_that_is_not_there_says_what_the_dataset_has(tmp_path: Path) -> None:
    assert pictures.require_folder(tmp_path, "BP4D", "a folder a task") == tmp_path
    with pytest.raises(DataError, match=r"absent: not found\. BP4D has a folder a task\."):
        pictures.require_folder(tmp_path / "absent", "BP4D", "a folder a task")


def test_a_number_is_held_to_its_range() -> None:
    assert pictures.number_in("-0.5", -1, 1, "row 3") == -0.5
    assert [pictures.number_in(text, -1, 1, "") for text in ("-1", "1")] == [-1, 1]
    for text, message in (("much", "'much' is not a number"), ("1.01", "1.01, expected -1 to 1"), ("nan", "expected")):
        with pytest.raises(DataError, match=f"row 3: .*{message}"):
            pictures.number_in(text, -1, 1, "row 3")
