"""Which faces calibrate and which judge: never the same, in the model's size, and enough of them."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.contract import ModelContract
from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces

from quantize.faces import open_faces
from tests.export import small


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return small.write_faces(tmp_path / "faces.npz")


def write_folder(folder: Path, contract: ModelContract, count: int) -> Path:
    """`count` pictures a class of another size; each of one level of grey that no other has."""
    for index, label in enumerate(contract.labels):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            level = index * count + number
            assert cv2.imwrite(str(folder / label / f"{number}.png"), np.full((60, 60), level, np.uint8))
    return folder


def levels(images: np.ndarray) -> set[int]:
    return {int(image.mean()) for image in images}


def test_a_cache_calibrates_on_training_and_judges_on_public_test(cache: Path, contract: ModelContract) -> None:
    sets = open_faces(cache, contract, 70, 0)
    assert sets is not None and sets.evaluation is not None
    assert (sets.training.split, sets.evaluation.split) == ("Training", "PublicTest")
    assert len(sets.calibration) == 70
    assert np.bincount(sets.calibration.labels).tolist() == [10] * 7, "as many of each class"
    drawn = {image.tobytes() for image in sets.calibration.images}
    assert drawn <= {image.tobytes() for image in sets.training.images}


def test_the_same_seed_draws_the_same_faces_and_another_draws_others(cache: Path, contract: ModelContract) -> None:
    first, again, other = (open_faces(cache, contract, 35, seed) for seed in (3, 3, 4))
    assert first is not None and again is not None and other is not None
    np.testing.assert_array_equal(first.calibration.images, again.calibration.images)
    assert (first.calibration.images != other.calibration.images).any()


def test_a_folder_is_halved_and_no_face_is_in_both_halves(tmp_path: Path, contract: ModelContract) -> None:
    sets = open_faces(write_folder(tmp_path / "own", contract, 12), contract, None, None)
    assert sets is not None and sets.evaluation is not None
    assert (sets.training.split, sets.evaluation.split) == ("calibration half", "held-out half")
    assert not levels(sets.calibration.images) & levels(sets.evaluation.images)
    assert len(sets.training) + len(sets.evaluation) == 84
    assert sets.calibration.images.shape[1:] == (48, 48), "in the model's size"
    assert len(sets.calibration) == len(sets.training), "fewer than 512 calibrate all"


def test_a_folder_of_too_few_faces_says_how_many_it_takes(tmp_path: Path, contract: ModelContract) -> None:
    with pytest.raises(DataError, match="own: 63 faces, expected at least 64: one half calibrates"):
        open_faces(write_folder(tmp_path / "own", contract, 9), contract, None, None)


def test_where_there_are_no_faces_there_is_nothing(tmp_path: Path, contract: ModelContract) -> None:
    assert open_faces(tmp_path / "absent.npz", contract, None, None) is None


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, None), (None, -1), (32, -3)])
def test_a_senseless_count_or_seed_is_bad_usage(cache: Path, contract: ModelContract, count, seed) -> None:
    with pytest.raises(UsageError, match="expected a count above 0 and a seed of 0 or more"):
        open_faces(cache, contract, count, seed)


def test_faces_of_a_cache_serve_models_of_every_size_and_colour(cache: Path, contract: ModelContract) -> None:
    spec = dataclasses.replace(contract.input, height_px=64, width_px=56, colour="rgb")
    faces = open_faces(cache, dataclasses.replace(contract, input=spec, schema_version=3), 14, 0)
    assert faces is not None and faces.calibration.images.shape == (14, 48, 48)
    assert spec.layout == "NCHW"
    assert dataclasses.replace(contract, input=spec).model_input(faces.calibration.images).shape == (14, 3, 64, 56)


def test_a_folder_keeps_its_colours_for_a_model_of_colour(tmp_path: Path, contract: ModelContract) -> None:
    spec = dataclasses.replace(contract.input, height_px=32, width_px=32, colour="bgr")
    root = write_folder(tmp_path / "faces", contract, 20)
    faces = open_faces(root, dataclasses.replace(contract, input=spec, schema_version=3), None, None)
    assert faces is not None and faces.calibration.images.shape[1:] == (32, 32, 3)


def test_more_calibration_faces_than_there_are_is_an_error_with_the_count(cache: Path, contract: ModelContract) -> None:
    with pytest.raises(DataError, match=r"expected at least 100000"):
        open_faces(cache, contract, 100_000, 0)


def test_a_class_goes_to_its_very_word_before_one_that_means_the_same() -> None:
    images, labels = np.zeros((2, 8, 8), np.uint8), np.array([0, 1])
    faces = LabelledFaces(images, labels, ("happy", "Sadness"), "drawn", "all").in_order_of(("happy", "joy", "sad"))
    assert faces.labels.tolist() == [0, 2]
