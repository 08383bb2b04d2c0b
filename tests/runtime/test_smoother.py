"""Smoothing over time: each track on its own, and a label that does not flicker."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.smoother import HysteresisSmoother


def labelled(smoother: HysteresisSmoother, *rows: tuple[float, float]) -> list[int]:
    return [smoother.update([0], np.array([row], np.float32), {0})[1][0] for row in rows]


def test_smoothing_follows_slowly_and_starts_at_once() -> None:
    smoother = HysteresisSmoother(0.25)
    alive = {0}
    first, _ = smoother.update([0], np.array([[1.0, 0.0]], np.float32), alive)
    second, _ = smoother.update([0], np.array([[0.0, 1.0]], np.float32), alive)
    np.testing.assert_allclose(first, [[1, 0]])
    np.testing.assert_allclose(second, [[0.75, 0.25]])


def test_tracks_are_smoothed_apart_and_forgotten() -> None:
    smoother = HysteresisSmoother(0.5)
    smoother.update([0, 1], np.array([[1, 0], [0, 1]], np.float32), {0, 1})
    both, _ = smoother.update([1, 0], np.array([[0, 1], [1, 0]], np.float32), {0, 1})
    np.testing.assert_allclose(both, [[0, 1], [1, 0]])
    smoother.update([], np.zeros((0, 2), np.float32), set())
    np.testing.assert_allclose(smoother.update([0], np.array([[0, 1]], np.float32), {0})[0], [[0, 1]])


def test_a_label_does_not_flicker_between_two_close_calls() -> None:
    close = [(0.52, 0.48), (0.47, 0.53), (0.51, 0.49), (0.46, 0.54)] * 5
    assert set(labelled(HysteresisSmoother(1.0, 0.1), *close)) == {0}
    assert set(labelled(HysteresisSmoother(1.0, 0.0), *close)) == {0, 1}


def test_a_label_changes_once_another_is_clearly_more_likely() -> None:
    assert labelled(HysteresisSmoother(1.0, 0.1), (0.9, 0.1), (0.46, 0.54), (0.44, 0.56)) == [0, 0, 1]


@given(
    rows=st.lists(st.lists(st.floats(0, 1), min_size=7, max_size=7), min_size=1, max_size=30),
    alpha=st.floats(0, 1),
    hysteresis=st.floats(0, 1),
)
def test_the_label_is_never_less_likely_than_the_best_by_more_than_the_hysteresis(
    rows: list[list[float]], alpha: float, hysteresis: float
) -> None:
    smoother = HysteresisSmoother(alpha, hysteresis)
    for row in rows:
        averages, (label,) = smoother.update([0], np.array([row], np.float32), {0})
        assert averages[0].max() - averages[0][label] <= hysteresis + 1e-6
        assert (averages >= -1e-6).all() and (averages <= 1 + 1e-6).all()
