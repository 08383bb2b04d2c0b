"""Near-duplicates against a search of every pair, and faces of other datasets kept, cut and split by person."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data import annotated, cache, duplicates
from train.data.annotated import AnnotatedFaces, split_by_subject
from train.data.fer2013 import SPLITS, Fer2013

TRAINING, PUBLIC = SPLITS.index("Training"), SPLITS.index("PublicTest")


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures, which differ in their lowest frequencies as faces do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 9, 9), dtype=np.uint8)
    return np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_CUBIC) for one in coarse])


def test_the_search_in_blocks_finds_what_a_search_of_every_pair_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(20)
    images = np.concatenate([images, images[:6] // 2 + 40, images[3:5]])
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    hashes = [int(value) for value in duplicates.perceptual_hashes(images)]
    expected = set()
    for i in range(len(images)):
        for j in range(i + 1, len(images)):
            distance = (hashes[i] ^ hashes[j]).bit_count()
            alike = np.corrcoef(images[i].ravel(), images[j].ravel())[0, 1] >= 0.9
            if distance <= 6 or (distance <= 12 and alike):
                expected.add((i, j))
    assert {tuple(pair) for pair in duplicates.pairs(images).tolist()} == expected
    assert {(i, 20 + i) for i in range(6)} <= expected  # the copies themselves, darker and flatter


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8),
        lambda image: (image * 0.6 + 30).astype(np.uint8),
        lambda image: cv2.resize(cv2.resize(image, (96, 96)), (48, 48)),
        lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0),
    ],
    ids=["brighter", "flatter", "resized", "compressed"],
)
def test_a_hash_hardly_moves_with_what_copies_go_through(changed: object) -> None:
    images = pictures(8)
    before = duplicates.perceptual_hashes(images)
    after = duplicates.perceptual_hashes(np.stack([changed(image) for image in images]))
    assert np.bitwise_count(before ^ after).max() <= duplicates.MAX_DISTANCE
    strangers = np.bitwise_count(before[:, None] ^ before[None])[~np.eye(8, dtype=bool)]
    assert strangers.min() > 12


def test_copies_of_copies_share_one_group_and_strangers_have_their_own() -> None:
    images = pictures(4)
    groups = duplicates.groups(np.concatenate([images, images[:1], images[:1], images[2:3]]))
    assert groups[0] == groups[4] == groups[5] and groups[2] == groups[6]
    assert len(set(groups.tolist())) == 4


def test_pictures_of_one_grey_correlate_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their hashes two of them are copies; by their pixels nothing can be said."""
    flat = np.full((2, 48, 48), 7, dtype=np.uint8)
    assert duplicates.pairs(flat).tolist() == [[0, 1]]
    assert duplicates.pairs(flat[:1]).shape == (0, 2)
    monkeypatch.setattr(duplicates, "MAX_DISTANCE", -1)  # so that the pixels must agree too
    with np.errstate(all="raise"):
        assert duplicates.pairs(flat).shape == (0, 2)


def faces(subjects: list[int]) -> AnnotatedFaces:
    n = len(subjects)
    people = np.array(subjects, dtype=np.int64)
    truths = {
        "expression7": np.arange(n) % 7,
        "valence-arousal": np.linspace(-1, 1, 2 * n, dtype=np.float32).reshape(n, 2),
    }
    return AnnotatedFaces("Mine", pictures(n), split_by_subject(people), people, truths)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(2, 6))
@settings(deadline=None)
def test_nobody_is_in_both_splits_and_one_person_in_so_many_is_held_out(people: list[int], held_out: int) -> None:
    subjects = np.array(people)
    usage = split_by_subject(subjects, held_out)
    test = set(subjects[usage == PUBLIC].tolist())
    assert test.isdisjoint(subjects[usage == TRAINING].tolist())
    count = len(set(people))
    assert len(test) == (count // held_out or int(count > 1))
    assert set(usage.tolist()) <= {TRAINING, PUBLIC}


def test_a_split_does_not_depend_on_the_order_of_the_faces() -> None:
    subjects = np.random.default_rng(0).integers(0, 30, 100)
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(split_by_subject(subjects)[order], split_by_subject(subjects[order]))


def test_faces_of_a_dataset_come_back_from_their_file(tmp_path: Path) -> None:
    data = faces([4, 4, 5, 6, 7, 8])
    annotated.save(data, tmp_path / "mine.npz")
    again = cache.load_any(tmp_path / "mine.npz")
    assert again.dataset == "Mine" and set(again.truths) == set(data.truths)
    for name in ("images", "usage", "subjects"):
        np.testing.assert_array_equal(getattr(again, name), getattr(data, name))
    for task, values in data.truths.items():
        np.testing.assert_array_equal(again.truth(task), values)
        assert again.truth(task).dtype == values.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


@pytest.mark.parametrize("chosen", [np.array([True, False, True, False]), np.array([2, 0])])
def test_rows_of_a_dataset_are_cut_together(chosen: np.ndarray) -> None:
    data = faces([1, 2, 3, 4])
    cut = data.rows(chosen)
    np.testing.assert_array_equal(cut.images, data.images[chosen])
    np.testing.assert_array_equal(cut.subjects, data.subjects[chosen])
    np.testing.assert_array_equal(cut.usage, data.usage[chosen])
    np.testing.assert_array_equal(cut.truth("valence-arousal"), data.truths["valence-arousal"][chosen])
    assert cut.dataset == "Mine"


def test_rows_of_fer2013_keep_their_votes_or_their_absence(tiny: Fer2013) -> None:
    chosen = tiny.usage == PUBLIC
    cut = tiny.rows(chosen)
    np.testing.assert_array_equal(cut.votes, tiny.votes[chosen])
    np.testing.assert_array_equal(cut.class_votes().argmax(axis=1), cut.emotions)
    silent = Fer2013(tiny.images, tiny.emotions, tiny.usage).rows(chosen)
    assert silent.votes is None and silent.class_votes() is None
