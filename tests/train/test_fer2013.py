"""Reading FER2013 and FER+ as users have them, and refusing what is damaged with the file and row named."""

import dataclasses
import os
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import DataError

from tests.train.conftest import COUNTS, write_csv, write_votes
from train.data import align, cache
from train.data.fer2013 import EXPRESSIONS, SPLITS, Fer2013, read_fer2013


def read(path: Path, ferplus: Path | None = None) -> Fer2013:
    return read_fer2013(path, ferplus, expected_counts=COUNTS)


def assert_same(found: Fer2013, expected: Fer2013) -> None:
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.emotions, expected.emotions)
    np.testing.assert_array_equal(found.usage, expected.usage)


def test_reads_fer2013_csv(tiny: Fer2013, tmp_path: Path) -> None:
    assert_same(read(write_csv(tmp_path / "fer2013.csv", tiny)), tiny)


def test_reads_icml_face_data_with_its_blanks_in_the_header(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "icml_face_data.csv", tiny, ("emotion", " Usage", " pixels"))
    assert_same(read(path), tiny)


def test_reads_a_zip_of_either(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.write(path, "fer2013/fer2013.csv")
        archive.writestr("fer2013/example_submission.csv", "id,emotion\n1,2\n")
    assert_same(read(tmp_path / "archive.zip"), tiny)


def test_reads_kaggle_image_folders(tiny: Fer2013, tmp_path: Path) -> None:
    for index, (image, emotion, usage) in enumerate(zip(tiny.images, tiny.emotions, tiny.usage, strict=True)):
        split = SPLITS[usage]
        folder = tmp_path / ("train" if split == "Training" else "test") / EXPRESSIONS[emotion]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{split}_{index}.png"), image)
    found = read(tmp_path)
    assert {name: int((found.usage == i).sum()) for i, name in enumerate(SPLITS)} == COUNTS
    assert sorted(image.tobytes() for image in found.images) == sorted(image.tobytes() for image in tiny.images)


def test_image_folder_that_mixed_the_test_splits_is_refused(tiny: Fer2013, tmp_path: Path) -> None:
    folder = tmp_path / "test" / "happy"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "im0.png"), tiny.images[0])
    with pytest.raises(DataError, match=r"im0\.png.*PublicTest from PrivateTest"):
        read(tmp_path)


def test_votes_stand_beside_their_faces(tiny: Fer2013, tmp_path: Path) -> None:
    found = read(write_csv(tmp_path / "fer2013.csv", tiny), write_votes(tmp_path / "fer2013new.csv", tiny))
    np.testing.assert_array_equal(found.votes, tiny.votes)
    assert found.class_votes()[:, EXPRESSIONS.index("happy")][3] == 8


@pytest.mark.parametrize(
    ("row", "cells", "message"),
    [
        (2, "7,{pixels},Training", r"row 2: emotion is '7', expected 0 to 6"),
        (3, "-1,{pixels},Training", r"row 3: emotion is '-1'"),
        (4, "0,1 2 3,Training", r"row 4: 3 pixels, expected 2304"),
        (5, "0,{pixels}", r"row 5: Usage is ''"),
        (6, "0,{pixels},Test", r"row 6: Usage is 'Test'"),
        (7, "0,{bright},Training", r"row 7: pixels from 0 to 256"),
        (8, "0,{words},Training", r"row 8: a pixel is not a whole number"),
    ],
)
def test_a_bad_row_is_named(tiny: Fer2013, tmp_path: Path, row: int, cells: str, message: str) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    lines = path.read_text().splitlines()
    pixels = " ".join(["0"] * 2304)
    lines[row - 1] = cells.format(pixels=pixels, bright=f"256 {pixels[2:]}", words=f"x {pixels[2:]}")
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"fer2013\.csv, {message}"):
        read(path)


def test_a_truncated_file_is_refused(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"fer2013\.csv, row \d+: (\d+ pixels|Usage is)"):
        read(path)


def test_wrong_counts_name_the_split(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match="13 PrivateTest faces, expected 14"):
        read(path)


def test_a_missing_split_is_named_even_in_a_subset(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    path.write_text("\n".join(path.read_text().splitlines()[: 1 + COUNTS["Training"]]))
    with pytest.raises(DataError, match="split PublicTest is missing"):
        read_fer2013(path, expected_counts=None)


@pytest.mark.parametrize("name", ["absent.csv", "absent.zip", "absent"])
def test_a_missing_file_is_one_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="not found"):
        read(tmp_path / name)


def test_a_broken_zip_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "fer2013.zip").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="not a readable zip"):
        read(tmp_path / "fer2013.zip")


def test_votes_of_another_length_are_refused(tiny: Fer2013, tmp_path: Path) -> None:
    path, votes = write_csv(tmp_path / "fer2013.csv", tiny), write_votes(tmp_path / "fer2013new.csv", tiny)
    votes.write_text("\n".join(votes.read_text().splitlines()[:-2]))
    with pytest.raises(DataError, match="68 rows of votes for 70 faces"):
        read(path, votes)


@pytest.mark.parametrize("count", [-5, 11, 200])
def test_a_count_of_votes_nobody_can_have_cast_is_refused(count: int, tiny: Fer2013, tmp_path: Path) -> None:
    assert tiny.votes is not None
    votes = tiny.votes.copy()
    votes[3, 0] = count
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    wrong = write_votes(tmp_path / "fer2013new.csv", dataclasses.replace(tiny, votes=votes))
    with pytest.raises(DataError, match="row 5: expected ten whole vote counts of 0 to 10"):
        read(path, wrong)


def test_votes_of_other_faces_are_refused(tiny: Fer2013, tmp_path: Path) -> None:
    """Votes that agree with no alignment are noise to a network, and no error shows it later."""
    generator = np.random.default_rng(5)
    strangers = Fer2013(tiny.images, tiny.emotions, tiny.usage, generator.permutation(tiny.votes))
    path, votes = write_csv(tmp_path / "fer2013.csv", tiny), write_votes(tmp_path / "fer2013new.csv", strangers)
    with pytest.raises(DataError, match="not of the same faces"):
        read(path, votes)


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(50, 750), max_size=6), st.integers(0, 2**31))
def test_votes_are_realigned_after_rows_were_lost(lost: set[int], seed: int) -> None:
    """A copy without some faces, filled up at its end: every face away from the losses finds its own votes again."""
    generator = np.random.default_rng(seed)
    true = generator.integers(0, 7, 800)
    votes = np.eye(7, dtype=np.int64)[true] * 6 + generator.multinomial(4, [1 / 7] * 7, 800)
    not_a_face = np.zeros(800, dtype=bool)
    not_a_face[sorted(lost)] = True
    kept = np.array([i for i in range(800) if i not in lost])
    emotions = np.concatenate([true[kept], generator.integers(0, 7, len(lost))])
    rows = align.align(emotions, votes, not_a_face)
    assert (rows[: len(kept)] == kept).mean() > 0.97


def test_the_cache_gives_back_what_was_read(tiny: Fer2013, tmp_path: Path) -> None:
    cache.save(tiny, tmp_path / "fer2013.npz")
    found = cache.load(tmp_path / "fer2013.npz")
    assert_same(found, tiny)
    np.testing.assert_array_equal(found.votes, tiny.votes)
    assert list(tmp_path.iterdir()) == [tmp_path / "fer2013.npz"]


def test_the_cache_is_rebuilt_when_votes_are_asked_for(tiny: Fer2013, tmp_path: Path) -> None:
    source, votes = write_csv(tmp_path / "fer2013.csv", tiny), write_votes(tmp_path / "fer2013new.csv", tiny)
    target = tmp_path / "cache.npz"
    assert cache.build(source, None, target, subset=True).votes is None
    assert cache.build(source, votes, target, subset=True).votes is not None


def test_the_cache_never_answers_for_other_files(tiny: Fer2013, tmp_path: Path) -> None:
    target = tmp_path / "cache.npz"
    first = write_csv(tmp_path / "a.csv", tiny)
    other = Fer2013(255 - tiny.images, tiny.emotions, tiny.usage)
    second = write_csv(tmp_path / "b.csv", other)
    os.utime(second, (1, 1))  # older than the cache, as an archive's files are
    assert_same(cache.build(first, None, target, subset=True), tiny)
    assert_same(cache.build(second, None, target, subset=True), other)
    with pytest.raises(DataError, match="42 Training faces, expected 28709"):
        cache.build(second, None, target)


def test_a_picture_named_as_the_csv_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "faces.png"), np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8))
    with pytest.raises(DataError, match=r"faces\.png, row 1: not a CSV file|expected columns"):
        read(tmp_path / "faces.png")


def test_a_missing_cache_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make data FER2013="):
        cache.load(tmp_path / "fer2013.npz")


def test_a_table_that_is_not_utf8_is_refused_with_its_row(tiny: Fer2013, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    path.write_bytes(path.read_bytes().replace(b"PublicTest", "PublicTést".encode("latin-1"), 1))
    row = path.read_bytes().partition(b"\xe9")[0].count(b"\n") + 1
    with pytest.raises(DataError, match=rf"fer2013\.csv, row {row}: not a CSV file \(byte 0xE9 is not UTF-8\)"):
        read_fer2013(path, expected_counts=None)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fer2013.csv")
    with pytest.raises(DataError, match="a named pipe, expected a file"):
        read_fer2013(tmp_path / "fer2013.csv")


@pytest.mark.parametrize("cell", ["²", "9" * 30, "٣", "1.5", "x" * 3000])
def test_a_cell_that_is_no_number_is_one_short_line(tiny: Fer2013, tmp_path: Path, cell: str) -> None:
    path = write_csv(tmp_path / "fer2013.csv", tiny)
    head, first, *rest = path.read_text().splitlines()
    for line in (f"{cell},{first.partition(',')[2]}", first.replace(" ", f" {cell} ", 1)):
        path.write_text("\n".join((head, line, *rest)))
        with pytest.raises(DataError, match=r"fer2013\.csv, row 2: (emotion is|a pixel is|\d+ pixels)") as refused:
            read_fer2013(path, expected_counts=None)
        assert len(str(refused.value)) < 300


def folder_of(root: Path, *names: str, side: int = 48) -> Path:
    """An image folder with a grey picture under each of these names."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), np.full((side, side), 90, dtype=np.uint8))
    return root


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [
        ("train/bored/Training_1.jpg", 48, "folder 'bored' is not a class; expected angry, disgust"),
        ("train/happy/Training_1.jpg", 32, "Training_1.jpg: 32x32, expected 48x48 grey"),
        ("test/happy/1.jpg", 48, "cannot tell PublicTest from PrivateTest; expected a name such as PublicTest_123"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(name: str, side: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_fer2013(folder_of(tmp_path, name, side=side), expected_counts=None)


def test_a_picture_that_cannot_be_decoded_says_what_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "train" / "happy").mkdir(parents=True)
    (tmp_path / "train" / "happy" / "Training_1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"Training_1\.png.* Expected 48x48 grey\."):
        read_fer2013(tmp_path)


def test_a_picture_has_its_split_by_its_name_or_by_its_folder(tmp_path: Path) -> None:
    names = ("train/happy/9.jpg", "test/sad/PublicTest_1.jpg", "test/sad/PrivateTest_2.jpg", "PublicTest/fear/3.jpg")
    data = read_fer2013(folder_of(tmp_path, *names), expected_counts=None)
    found = sorted((EXPRESSIONS[e], SPLITS[u]) for e, u in zip(data.emotions, data.usage, strict=True))
    assert found == [("fear", "PublicTest"), ("happy", "Training"), ("sad", "PrivateTest"), ("sad", "PublicTest")]
    assert data.votes is None


def test_an_image_folder_has_no_rows_for_votes_to_follow(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"votes follow the rows of fer2013\.csv, but .* is an image folder\. Give"):
        read_fer2013(folder_of(tmp_path, "train/happy/1.jpg"), tmp_path / "fer2013new.csv")


def test_a_folder_without_pictures_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images\. Expected folders such as train/happy/Training_123\.jpg"):
        read_fer2013(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emotion,pixels\n1,2\n", "expected columns emotion, pixels, Usage; missing Usage"),
        ("", "missing Usage, emotion, pixels"),
        ("emotion,pixels,Usage\n", "no faces, only a header. Expected 35887 rows"),
        (f"emotion,pixels,Usage\n3,{'-1 ' * 2304},Training\n", "row 2: pixels from -1 to -1, expected 0 to 255"),
    ],
)
def test_a_table_of_faces_says_what_it_lacks(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        read_fer2013(tmp_path / "fer2013.csv")


def test_a_zip_without_a_table_is_refused_and_the_largest_table_is_read(tiny: Fer2013, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match=r"no \.csv file inside; expected a zip of fer2013\.csv"):
        read_fer2013(tmp_path / "none.zip")
    table = write_csv(tmp_path / "fer2013.csv", tiny)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a_submission.csv", "id,label\n1,2\n")
        archive.write(table, "deep/fer2013.csv")
        archive.writestr("__MACOSX/deep/fer2013.csv", "x" * 2 * table.stat().st_size)
    np.testing.assert_array_equal(read_fer2013(tmp_path / "faces.zip", expected_counts=None).images, tiny.images)


def test_a_table_of_votes_without_its_columns_or_out_of_order_is_refused(tiny: Fer2013, tmp_path: Path) -> None:
    faces, votes = write_csv(tmp_path / "fer2013.csv", tiny), tmp_path / "votes.csv"
    votes.write_text("Usage,neutral\nTraining,10\n")
    with pytest.raises(DataError, match=r"expected the columns of fer2013new\.csv, missing NF, anger"):
        read_fer2013(faces, votes, expected_counts=None)
    write_votes(votes, tiny)
    head, first, *others = votes.read_text().splitlines(keepends=True)
    votes.write_text("".join([head, first.replace("Training", "PublicTest"), *others]))
    with pytest.raises(DataError, match="row 2: Usage is 'PublicTest' where FER2013 has 'Training'"):
        read_fer2013(faces, votes, expected_counts=None)
    with pytest.raises(DataError, match=r"FER\+ votes not found: .*absent\.csv"):
        read_fer2013(faces, tmp_path / "absent.csv", expected_counts=None)
