"""Classification metrics over whole label arrays, in numpy alone so that a board can compute them too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class ClassificationMetrics:
    """Scores of a classifier on one split. Fractions in [0, 1]; `recall` is in label order."""

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


@dataclass(frozen=True)
class ValueMetrics:
    """How well n estimates of one value follow its truth.

    `ccc` is Lin's concordance correlation (1989), `pcc` Pearson's, `icc` the intraclass correlation ICC(3,1) of Shrout
    and Fleiss (1979); each is at most 1. `rmse` and `mae` are in the value's own unit; `sagr` is the fraction of faces
    on which the signs agree.
    """

    n: int
    ccc: float
    pcc: float
    icc: float
    rmse: float
    mae: float
    sagr: float


def concordance(first: FloatArray, second: FloatArray) -> float:
    """Lin's concordance correlation of two series (n,): 1 only where they are equal, not merely in line."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    spread = first.var() + second.var() + (first.mean() - second.mean()) ** 2
    if spread == 0:
        return 1.0
    return float(2 * ((first - first.mean()) * (second - second.mean())).mean() / spread)


def value_metrics(truth: FloatArray, estimates: FloatArray) -> ValueMetrics:
    """Metrics of `estimates` (n,) against `truth` (n,), two or more of each; a correlation without spread is 0."""
    truth, estimates = truth.astype(np.float64), estimates.astype(np.float64)
    differences = estimates - truth
    deviations = float(truth.std() * estimates.std())
    covariance = float(((truth - truth.mean()) * (estimates - estimates.mean())).mean())
    return ValueMetrics(
        n=len(truth),
        ccc=concordance(truth, estimates),
        pcc=covariance / deviations if deviations > 0 else 0.0,
        icc=_intraclass_correlation(truth, estimates),
        rmse=float(np.sqrt((differences**2).mean())),
        mae=float(np.abs(differences).mean()),
        sagr=float((np.sign(truth) == np.sign(estimates)).mean()),
    )


def _intraclass_correlation(truth: FloatArray, estimates: FloatArray) -> float:
    """ICC(3,1): two fixed raters, each face rated once by both; a constant difference between them does not count."""
    ratings = np.stack([truth, estimates], axis=1)
    n, raters = ratings.shape
    between = raters * ((ratings.mean(axis=1) - ratings.mean()) ** 2).sum() / max(n - 1, 1)
    residual = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0) + ratings.mean()
    error = (residual**2).sum() / max((n - 1) * (raters - 1), 1)
    total = between + (raters - 1) * error
    return float((between - error) / total) if total > 0 else 0.0


def f1_scores(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> FloatArray:
    """F1 of each label on its own, (labels,), from truth and prediction (n, labels); 0 where neither has any."""
    hits = (truth & predicted).sum(axis=0)
    scores: FloatArray = 2 * hits / np.maximum(truth.sum(axis=0) + predicted.sum(axis=0), 1)
    return scores
