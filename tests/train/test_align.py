"""Votes put back beside their faces: agreement by hand, and rows lost in every place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.align import ALIGNED_AGREEMENT, agreement, align

N = 400


def votes_of(emotions: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ten votes a face, of which seven are for its label, so that the order is clear."""
    votes = np.random.default_rng(seed).multinomial(3, np.ones(7) / 7, len(emotions))
    votes[np.arange(len(emotions)), emotions] += 7
    return votes.astype(np.int64)


def faces(seed: int = 1, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 7, n)


def nobody_marked(n: int = N) -> np.ndarray:
    return np.zeros(n, dtype=bool)


def test_agreement_counts_the_faces_that_somebody_voted_on() -> None:
    votes = np.zeros((4, 7), dtype=np.int64)
    votes[0, 3], votes[1, 2], votes[2, 5] = 9, 4, 4
    assert agreement(np.array([3, 2, 1, 0]), votes) == pytest.approx(2 / 3)
    assert agreement(np.array([3, 2, 1, 0]), votes * 0) == 0


def test_votes_in_order_stay_where_they_are() -> None:
    emotions = faces()
    assert align(emotions, votes_of(emotions), nobody_marked()).tolist() == list(range(N))


@given(st.lists(st.integers(20, N - 20), min_size=1, max_size=3, unique=True), st.integers(0, 100))
@settings(max_examples=8, deadline=None)
def test_faces_after_a_lost_row_find_their_votes_again(lost: list[int], seed: int) -> None:
    """A copy that lost rows and appended others has as many rows, and all later votes are off by the number lost."""
    whole = faces(seed)
    kept = np.delete(np.arange(N), lost)
    appended = np.random.default_rng(seed + 1).integers(0, 7, len(lost))
    emotions = np.concatenate([whole[kept], appended])
    found = align(emotions, votes_of(whole, seed), nobody_marked())
    right = found[: len(kept)] == kept
    assert right.mean() > 0.95
    assert agreement(emotions[: len(kept)][right], votes_of(whole, seed)[found[: len(kept)][right]]) > ALIGNED_AGREEMENT


def test_a_row_marked_as_no_face_is_where_a_copy_is_likely_to_have_lost_one() -> None:
    """Two equal faces stand together, so the labels alone cannot tell which of them is gone; the mark can."""
    whole = faces()
    whole[200:204] = 3
    votes, marked = votes_of(whole), nobody_marked()
    kept = np.delete(np.arange(N), 202)
    marked[202] = True
    emotions = np.append(whole[kept], 0)
    found = align(emotions, votes, marked)
    assert 202 not in found.tolist()
    np.testing.assert_array_equal(found[195:230], kept[195:230])


def test_no_face_steps_back_to_earlier_votes() -> None:
    whole = faces(7)
    emotions = np.concatenate([np.delete(whole, [50, 51, 180]), [1, 1, 1]])
    found = align(emotions, votes_of(whole), nobody_marked())
    matched = found[found >= 0]
    assert (np.diff(matched) > 0).all()
    assert matched.max() < N


def test_faces_of_another_place_are_left_without_votes() -> None:
    """A stretch of strangers in the middle; the faces around it keep theirs."""
    whole = faces(3)
    emotions = whole.copy()
    emotions[150:250] = (whole[150:250] + 3) % 7
    found = align(emotions, votes_of(whole), nobody_marked())
    assert (found[155:245] == -1).mean() > 0.9
    np.testing.assert_array_equal(found[:145], np.arange(145))
    np.testing.assert_array_equal(found[255:], np.arange(255, N))
