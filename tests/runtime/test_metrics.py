"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from fer_edge.metrics import agreement, classification_metrics, confusion_matrix, expected_calibration_error, softmax


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
