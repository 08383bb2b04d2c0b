"""Atomic writing, and labelled faces on disk."""

import io
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces, load_faces, read_cache
from fer_edge.files import atomic_write, sha256_of

from tests.runtime.fakes.disks import ext4_disk, needs_loop


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@needs_loop
@pytest.mark.parametrize("before", [None, "old"], ids=["new", "replaced"])
def test_after_a_power_cut_a_file_that_was_written_is_there_and_whole(tmp_path: Path, before: str | None) -> None:
    with ext4_disk(tmp_path) as disk:
        path = disk.plug_in() / "fer-edge.toml"
        if before is not None:
            path.write_text(before)
            os.sync()
        with atomic_write(path) as temporary, temporary.open("a") as file:  # ext4 synchronises what "w" empties
            file.write("whole")
        after = disk.as_after_a_power_cut(tmp_path / "after.img", tmp_path / "after")
    try:
        assert (after.plug_in() / "fer-edge.toml").read_text() == "whole"
    finally:
        after.unplug()


def test_behind_a_link_the_target_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/target")
    for text in ("one", "two"):
        with atomic_write(tmp_path / "link") as temporary:
            temporary.write_text(text)
        assert (tmp_path / "disk" / "target").read_text() == text
    assert (tmp_path / "link").is_symlink() and len(list((tmp_path / "disk").iterdir())) == 1


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    with atomic_write(tmp_path / ("é" * 127)) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / ("é" * 127)).read_text() == "whole"


def test_a_device_is_written_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("gone")
    assert (tmp_path / "link").is_symlink() and Path("/dev/null").is_char_device()


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


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A CSV that names three pictures of two labels, from its own folder."""
    (tmp_path / "crops").mkdir()
    for name, value in (("a", 200), ("b", 50), ("c", 210)):
        cv2.imwrite(str(tmp_path / "crops" / f"{name}.png"), np.full((48, 48), value, np.uint8))
    path = tmp_path / "faces.csv"
    path.write_text("who,path,label\n1,crops/a.png,happy\n2,crops/b.png,Fed up\n1,crops/c.png,happy\n")
    return path


def test_reads_a_csv_that_names_pictures_and_their_labels(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    found = load_faces(listed, "mine")
    assert (found.label_names, found.dataset) == (("Fed up", "happy"), "faces.csv")
    assert found.images[:, 0, 0].tolist() == [200, 50, 210]
    assert found.labels.tolist() == [1, 0, 1]
    in_colour = load_faces(listed, "mine", (20, 24), colour=True)
    assert in_colour.images.shape == (3, 20, 24, 3)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("path,label", "file,label", r"faces\.csv: no column 'path'\. Expected the columns path, from the folder"),
        ("path,label", "pixels,label", r"no column 'path'.*`make data` reads FER2013's own"),
        ("crops/a.png,happy", "crops/a.png, ", r"faces\.csv, row 2: no label\. Give every picture both"),
        ("crops/a.png,happy", ",happy", r"row 2: no path"),
        ("crops/a.png", "crops/absent.png", r"absent\.png.* 1 of 3 images cannot be read\. Correct their paths"),
        ("2,crops/b.png,Fed up", "2,crops/b.png", r"row 3"),
        ("1,crops/a.png,happy\n2,crops/b.png,Fed up\n1,crops/c.png,happy\n", "", r"no faces\. Expected the columns"),
    ],
)
def test_a_csv_that_says_too_little_is_refused(listed: Path, before: str, after: str, message: str) -> None:
    text = listed.read_text()
    assert before in text
    listed.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=message):
        load_faces(listed, "mine")


def test_a_csv_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv not found\. Expected the columns"):
        load_faces(tmp_path / "faces.csv", "mine")


def test_a_broken_image_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png: the file is empty"):
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


def saved(path: Path, **changes: object) -> Path:
    """A face cache of three faces with some arrays of its own."""
    arrays: dict[str, object] = {
        "images": np.zeros((3, 4, 4), np.uint8),
        "labels": np.array([0, 1, -1], np.int8),
        "splits": np.array([0, 0, 1], np.int8),
        "label_names": np.array(["happy", "sad"]),
        "split_names": np.array(["Training", "PublicTest"]),
    }
    np.savez(path, **{name: value for name, value in {**arrays, **changes}.items() if value is not None})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "no labels"),
        ({"labels": np.array([0, 1])}, r"labels are int64 \(2,\), expected whole numbers \(3,\)"),
        ({"labels": np.array([0, 1, 2])}, "labels from 0 to 2, expected -1 to 1"),
        ({"labels": np.array([0.0, 1.0, 1.0])}, "labels are float64"),
        ({"splits": np.array([0, 5, 0])}, "splits from 0 to 5, expected 0 to 1"),
        ({"images": np.zeros((3, 16), np.uint8)}, r"images are uint8 \(3, 16\)"),
        ({"images": np.zeros((3, 4, 4))}, "images are float64"),
        ({"label_names": np.array(["sad", "sad"])}, "label_names is not a list of different texts"),
        ({"label_names": np.array([{}, {}])}, "an array of Python objects"),
        ({"votes": np.ones((3, 9), int)}, r"votes are int64 \(3, 9\), expected whole numbers \(3, 10\)"),
        ({"truth_valence-arousal": np.zeros((2, 2))}, r"truth_valence-arousal is float64 \(2, 2\)"),
        ({"truth_expression8": np.array([0, 1, 99])}, "truth_expression8 from 0 to 99"),
        ({"dataset": np.array([1, 2])}, "dataset is not a text"),
    ],
)
def test_a_cache_whose_arrays_do_not_fit_each_other_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=rf"faces\.npz: not a face cache \({message}.*\)\. Make it again"):
        read_cache(saved(tmp_path / "faces.npz", **changes))


def test_a_cache_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((100_000, 48, 48), np.uint8))
    with pytest.raises(DataError, match=r"bomb\.npz: not a face cache \(219 MB unpacked out of \d+ kB\)"):
        read_cache(path)


def test_an_array_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    path, header = tmp_path / "claims.npz", io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with pytest.raises(DataError, match=r"an array of shape \(1048576, 1048576\) that does not have its size"):
        read_cache(path)
