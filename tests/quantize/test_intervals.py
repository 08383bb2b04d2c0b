"""Intervals: published values, what coverage they have, and how many faces decide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.metrics import concordance

from quantize.intervals import Interval, bootstrap, faces_needed, median, paired_drop, proportion
from quantize.losses import losses

COUNTS = st.integers(0, 40)


def test_the_exact_interval_of_a_proportion() -> None:
    # Clopper and Pearson: no event in n is at most 1 - 0.025^(1/n).
    found = proportion(0, 140)
    assert (found.low, found.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 140)))
    assert proportion(140, 140).low == pytest.approx(0.025 ** (1 / 140))
    assert proportion(7, 50).low == pytest.approx(0.0582, abs=1e-4)


@pytest.mark.parametrize(
    ("hits", "low", "high"), [(1, 0.000506, 0.106469), (49, 0.893531, 0.999494), (25, 0.355273, 0.644727)]
)
def test_the_exact_interval_of_few_and_of_most(hits: int, low: float, high: float) -> None:
    found = proportion(hits, 50)
    assert (found.measured, found.low, found.high) == pytest.approx((hits / 50, low, high), abs=1e-5)


def test_all_and_none_reach_to_the_ends() -> None:
    assert proportion(50, 50).high == 1.0
    assert proportion(0, 50).low == 0.0


def test_an_interval_is_widened_around_its_figure() -> None:
    assert Interval(1.0, 0.5, 3.0).scaled(2) == Interval(1.0, 0.0, 5.0)
    assert Interval(1.0, 0.5, 3.0).scaled(0.5) == Interval(1.0, 0.75, 2.0)


@pytest.mark.parametrize(("lost", "gained", "n"), [(9, 2, 60), (1, 0, 8), (0, 3, 20), (40, 10, 1000), (3, 3, 9)])
def test_the_ends_of_a_paired_interval_are_where_the_score_test_rejects(lost: int, gained: int, n: int) -> None:
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


@pytest.mark.parametrize("decides_at", [33, 100, 1234, 98_765, 900_000])
def test_the_number_of_faces_is_found_to_a_hundredth(decides_at: int) -> None:
    needed = faces_needed(lambda n: n >= decides_at, 32)
    assert needed is not None
    assert decides_at <= needed <= 1.011 * decides_at + 1


def test_what_is_decided_already_needs_no_more_faces_and_what_a_million_leave_open_has_no_number() -> None:
    assert faces_needed(lambda n: True, 140) == 140
    assert faces_needed(lambda n: n > 1_100_000, 1000) is None


def test_losses_of_a_classifier_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    truth = LabelledFaces(np.zeros((4, 2, 2), np.uint8), labels, ("a", "b"), "drawn", "all")
    right, one_wrong = np.eye(2, dtype=np.float32)[labels], np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
    agreement, accuracy, macro_f1 = losses(right, one_wrong, truth)
    assert agreement.interval.measured == accuracy.interval.measured == 0.25
    assert macro_f1.interval.measured == pytest.approx(1 - (2 / 3 + 4 / 5) / 2)
    assert accuracy.at(4000).high - accuracy.at(4000).low < 0.1


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    """As scikit-learn has it, where a class is named that no face has, and where one has a single face."""
    generator = np.random.default_rng(0)
    labels = np.concatenate([generator.integers(0, 3, 60), [3]])  # of five classes the last does not occur
    named = [np.where(generator.random(61) < 0.7, labels, generator.integers(0, 5, 61)) for _ in range(2)]
    scores = [f1_score(labels, one, labels=range(4), average="macro", zero_division=0) for one in named]
    truth = LabelledFaces(np.zeros((61, 2, 2), np.uint8), labels, tuple("abcde"), "drawn", "all")
    first, second = (np.eye(5, dtype=np.float32)[one] for one in named)
    _, accuracy, macro_f1 = losses(first, second, truth)
    assert macro_f1.interval.measured == pytest.approx(scores[0] - scores[1])
    assert accuracy.interval.measured == pytest.approx((named[0] == labels).mean() - (named[1] == labels).mean())
    assert macro_f1.interval.low < macro_f1.interval.measured < macro_f1.interval.high


def test_what_more_faces_would_show_has_the_same_figure_and_is_narrower() -> None:
    labels = np.arange(400) % 2
    truth = LabelledFaces(np.zeros((400, 2, 2), np.uint8), labels, ("a", "b"), "drawn", "all")
    named = np.where(np.arange(400) < 20, 1 - labels, labels)
    for loss in losses(np.eye(2, dtype=np.float32)[labels], np.eye(2, dtype=np.float32)[named], truth):
        wider, narrower = loss.interval, loss.at(1600)
        assert narrower.measured == pytest.approx(wider.measured)
        assert (narrower.high - narrower.low) / (wider.high - wider.low) == pytest.approx(0.5, rel=0.1)
        assert loss.in_points.high == pytest.approx(100 * wider.high)


def test_the_concordance_of_several_values_is_their_mean() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 2)).astype(np.float32)
    reference = (values + generator.normal(0, (0.2, 0.6), (200, 2))).astype(np.float32)
    predictions = (reference + generator.normal(0, (0.3, 0.1), (200, 2)) + 0.2).astype(np.float32)
    truth = ValuedFaces(np.zeros((200, 2, 2), np.uint8), values, ("x", "y"), "drawn", "all")
    same, drop = losses(reference, predictions, truth)

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean([concordance(one[:, k], other[:, k]) for k in range(2)]))

    assert (same.name, drop.name) == ("agreement", "CCC")
    assert same.interval.measured == pytest.approx(1 - mean(predictions, reference), abs=1e-5)
    assert drop.interval.measured == pytest.approx(mean(values, reference) - mean(values, predictions), abs=1e-5)
    assert same.interval.low < same.interval.measured < same.interval.high
    wide, narrow = drop.interval, drop.at(800)
    assert narrow.high - narrow.measured == pytest.approx((wide.high - wide.measured) / 2)


def test_equal_constant_estimates_agree_wholly() -> None:
    ones = np.ones((20, 1), np.float32)
    truth = ValuedFaces(np.zeros((20, 2, 2), np.uint8), ones, ("x",), "drawn", "all")
    assert [loss.interval.measured for loss in losses(ones, ones, truth)] == [0, 0]


def test_losses_of_values_are_of_concordance() -> None:
    values = np.linspace(0, 1, 50, dtype=np.float32)[:, None]
    truth = ValuedFaces(np.zeros((50, 2, 2), np.uint8), values, ("x",), "drawn", "all")
    same, ccc = losses(values, values + np.float32(0.5), truth)
    expected = 1 - 2 * values.var() / (2 * values.var() + 0.25)
    assert [same.interval.measured, ccc.interval.measured] == pytest.approx([expected, expected], rel=1e-4)
