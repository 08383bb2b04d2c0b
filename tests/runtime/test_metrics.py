"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from fer_edge.metrics import (
    agreement,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    f1_scores,
    softmax,
    value_metrics,
)


def test_confusion_matrix_has_truth_in_its_rows() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_metrics_by_hand() -> None:
    truth = np.array([0, 0, 1, 2])
    scores = np.eye(3)[[0, 1, 1, 0]]
    metrics = classification_metrics(truth, scores)
    assert metrics.n == 4
    assert metrics.accuracy == pytest.approx(0.5)
    assert metrics.recall == pytest.approx((0.5, 1.0, 0.0))
    # F1: class 0: 2*1/(2+2) = 0.5; class 1: 2*1/(1+2) = 2/3; class 2: 0.
    assert metrics.macro_f1 == pytest.approx((0.5 + 2 / 3 + 0) / 3)


def test_a_class_nobody_has_does_not_count() -> None:
    assert classification_metrics(np.array([0, 1]), np.eye(3)[[0, 1]]).macro_f1 == pytest.approx(1.0)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.8, 0.2]] * 10)
    truth = np.array([0] * 5 + [1] * 5)
    assert expected_calibration_error(truth, probabilities) == pytest.approx(0.3)


def test_softmax_of_large_logits_is_finite() -> None:
    np.testing.assert_allclose(softmax(np.array([[1e4, 1e4]])), [[0.5, 0.5]])


def test_agreement_counts_equal_decisions() -> None:
    assert agreement(np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[0, 1, 2, 0]]) == pytest.approx(0.75)


def test_value_metrics_by_hand() -> None:
    """Truth -1, 0, 1 and estimates -1, 0, 4: means 0 and 1, variances 2/3 and 14/3, covariance 5/3."""
    truth, estimates = np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 0.0, 4.0])
    metrics = value_metrics(truth, estimates)
    assert metrics.ccc == pytest.approx(2 * (5 / 3) / (2 / 3 + 14 / 3 + 1))
    assert metrics.pcc == pytest.approx((5 / 3) / np.sqrt(2 / 3 * 14 / 3))
    assert metrics.rmse == pytest.approx(np.sqrt(3))
    assert metrics.mae == pytest.approx(1)
    assert (metrics.n, metrics.sagr) == (3, 1.0)


def test_intraclass_correlation_by_hand() -> None:
    """Three faces rated (1, 2), (2, 4), (3, 6): ICC(3,1) from the mean squares between faces 4.5 and left over 0.5."""
    assert value_metrics(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).icc == pytest.approx((4.5 - 0.5) / 5)
    shifted = value_metrics(np.array([1.0, 2.0, 3.0]), np.array([6.0, 7.0, 8.0]))
    assert shifted.icc == pytest.approx(1)  # a constant difference does not count
    assert shifted.ccc < 0.1  # but here it does


def test_a_constant_estimate_correlates_with_nothing() -> None:
    metrics = value_metrics(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    assert (metrics.ccc, metrics.pcc) == (0.0, 0.0)


def test_f1_of_each_label_by_hand() -> None:
    """First label: one hit, one miss, one false alarm; the second never there and never said."""
    truth = np.array([[True, False], [True, False], [False, False]])
    said = np.array([[True, False], [False, False], [True, False]])
    np.testing.assert_allclose(f1_scores(truth, said), [0.5, 0.0])
