"""Atomic writing, and labelled faces on disk."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces, load_faces
from fer_edge.files import atomic_write, sha256_of


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unwritable_place_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), atomic_write(tmp_path / "file" / "below"):
        pass


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def faces(counts: dict[str, int]) -> LabelledFaces:
    labels = np.concatenate([np.full(n, i) for i, n in enumerate(counts.values())])
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    return LabelledFaces(images, labels, tuple(counts), "made", "Training")


def test_balanced_draws_evenly_and_takes_all_of_a_rare_class() -> None:
    drawn = faces({"angry": 50, "disgust": 3, "happy": 90}).balanced(43, seed=1)
    assert np.bincount(drawn.labels).tolist() == [20, 3, 20]
    assert len({image.tobytes() for image in drawn.images}) == 43


def test_balanced_repeats_with_its_seed_and_differs_without() -> None:
    everyone = faces({"angry": 50, "happy": 90})
    assert (everyone.balanced(20, 1).images == everyone.balanced(20, 1).images).all()
    assert (everyone.balanced(20, 1).images != everyone.balanced(20, 2).images).any()


def test_too_few_faces_are_counted_in_the_error() -> None:
    with pytest.raises(DataError, match="5 faces, expected at least 512"):
        faces({"angry": 2, "happy": 3}).balanced(512, 0)


def test_reads_a_folder_with_one_subfolder_a_class(tmp_path: Path) -> None:
    for name, value in (("happy", 200), ("sad", 50)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), np.full((48, 48), value, np.uint8))
    found = load_faces(tmp_path, "mine")
    assert found.label_names == ("happy", "sad")
    assert found.images[:, 0, 0].tolist() == [200, 50]
    assert found.labels.tolist() == [0, 1]


def test_a_broken_image_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png: not a readable image"):
        load_faces(tmp_path, "mine")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_a_broken_cache_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fer2013.npz").write_bytes(content)
    with pytest.raises(DataError, match="not a face cache"):
        load_faces(tmp_path / "fer2013.npz", "PublicTest")


def test_empty_and_absent_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no faces"):
        load_faces(tmp_path, "mine")
    with pytest.raises(DataError, match="not found"):
        load_faces(tmp_path / "absent.npz", "mine")
