"""Intervals: published values, what coverage they have, and how many faces decide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.faces import LabelledFaces, ValuedFaces

from quantize.intervals import bootstrap, faces_needed, median, paired_drop, proportion
from quantize.losses import losses

COUNTS = st.integers(0, 40)


def test_the_exact_interval_of_a_proportion() -> None:
    # Clopper and Pearson: no event in n is at most 1 - 0.025^(1/n).
    found = proportion(0, 140)
    assert (found.low, found.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 140)))
    assert proportion(140, 140).low == pytest.approx(0.025 ** (1 / 140))
    assert proportion(7, 50).low == pytest.approx(0.0582, abs=1e-4)


def test_the_ends_of_a_paired_interval_are_where_the_score_test_rejects() -> None:
    lost, gained, n = 9, 2, 60
    found = paired_drop(lost, gained, n)
    for drop in (found.low, found.high):
        # The likelihood under this drop, maximised by trying: rates gained and gained + drop, the rest alike.
        rates = np.linspace(max(0.0, -drop) + 1e-7, (1 - drop) / 2 - 1e-7, 200_001)
        alike = 1 - 2 * rates - drop
        likelihood = lost * np.log(rates + drop) + gained * np.log(rates) + (n - lost - gained) * np.log(alike)
        rate = rates[likelihood.argmax()]
        score = (lost - gained - n * drop) / np.sqrt(n * (2 * rate + drop - drop**2))
        assert abs(score) == pytest.approx(1.959964, abs=1e-3)


def test_no_discordant_face_still_leaves_doubt() -> None:
    z_squared = 1.959964**2
    found = paired_drop(0, 0, 32)
    assert found.high == pytest.approx(z_squared / (32 + z_squared), abs=1e-6)
    assert found.low == pytest.approx(-found.high, abs=1e-6)


@given(COUNTS, COUNTS, st.integers(1, 400))
def test_a_paired_interval_holds_its_measure_and_turns_with_its_sides(lost: int, gained: int, alike: int) -> None:
    n = lost + gained + alike
    one, other = paired_drop(lost, gained, n), paired_drop(gained, lost, n)
    assert one.low <= one.measured + 1e-9
    assert one.measured - 1e-9 <= one.high
    assert one.low == pytest.approx(-other.high, abs=1e-6)


def test_the_paired_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator, n, rates = np.random.default_rng(0), 200, [0.03, 0.02, 0.95]
    drawn = generator.multinomial(n, rates, size=400)
    held = [found.low <= 0.01 <= found.high for found in (paired_drop(*row[:2], n) for row in drawn.astype(float))]
    assert np.mean(held) >= 0.93


def test_the_median_has_an_interval_without_a_distribution() -> None:
    found = median(np.arange(1.0, 151.0))
    assert found.measured == 75.5
    assert 60 < found.low < 75.5 < found.high < 92


def test_a_bootstrap_is_the_same_each_time_and_narrows_with_faces() -> None:
    few, many = (bootstrap(lambda drawn: drawn[:, 0] / drawn.sum(axis=1), np.array([n, n])) for n in (20, 2000))
    assert few == bootstrap(lambda drawn: drawn[:, 0] / drawn.sum(axis=1), np.array([20, 20]))
    assert many.high - many.low < 0.2 * (few.high - few.low)


def test_the_number_of_faces_that_decides_is_found() -> None:
    needed = faces_needed(lambda n: proportion(0, n).high <= 0.025, 32)
    assert needed is not None
    assert needed == pytest.approx(146, abs=3)
    assert faces_needed(lambda n: False, 32) is None


def test_losses_of_a_classifier_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    truth = LabelledFaces(np.zeros((4, 2, 2), np.uint8), labels, ("a", "b"), "drawn", "all")
    right, one_wrong = np.eye(2, dtype=np.float32)[labels], np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
    agreement, accuracy, macro_f1 = losses(right, one_wrong, truth)
    assert agreement.interval.measured == accuracy.interval.measured == 0.25
    assert macro_f1.interval.measured == pytest.approx(1 - (2 / 3 + 4 / 5) / 2)
    assert accuracy.at(4000).high - accuracy.at(4000).low < 0.1


def test_losses_of_values_are_of_concordance() -> None:
    values = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    truth = ValuedFaces(np.zeros((50, 2, 2), np.uint8), values, ("x",), "drawn", "all")
    same, ccc = losses(values, values + np.float32(0.5), truth)
    expected = 1 - 2 * values.var() / (2 * values.var() + 0.25)
    assert [same.interval.measured, ccc.interval.measured] == pytest.approx([expected, expected], rel=1e-4)
