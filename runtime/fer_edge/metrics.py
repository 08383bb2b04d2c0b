"""Classification metrics over whole label arrays, in numpy alone so that a board can compute them too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ClassificationMetrics:
    """What a classifier scored on one split. Fractions in [0, 1]; `recall` is in label order."""

    n: int
    accuracy: float
    macro_f1: float
    recall: tuple[float, ...]
    ece: float


def confusion_matrix(truth: IntArray, predicted: IntArray, classes: int) -> NDArray[np.int64]:
    """Counts, shape (classes, classes): row is the true class, column the predicted one."""
    return np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities along the last axis."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: FloatArray = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities


def expected_calibration_error(truth: IntArray, probabilities: FloatArray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width confidence bins (Guo et al., 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(correct[bin_of == b].mean() - confidence[bin_of == b].mean()) * (bin_of == b).mean()
        for b in range(bins)
        if (bin_of == b).any()
    ]
    return float(sum(gaps))


def classification_metrics(truth: IntArray, probabilities: FloatArray) -> ClassificationMetrics:
    """Metrics of `probabilities` (n, classes) against `truth` (n,). Macro-F1 averages over classes present in truth."""
    classes = probabilities.shape[1]
    matrix = confusion_matrix(truth, probabilities.argmax(axis=1), classes)
    hits, support, claimed = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + claimed, 1)
    return ClassificationMetrics(
        n=len(truth),
        accuracy=float(hits.sum() / max(len(truth), 1)),
        macro_f1=float(f1[support > 0].mean()),
        recall=tuple(float(value) for value in recall),
        ece=expected_calibration_error(truth, probabilities),
    )


def agreement(first: FloatArray, second: FloatArray) -> float:
    """Fraction of rows on which two score arrays (n, classes) name the same class."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())
