"""Losses of a smaller model against float on the same faces, each figure with its interval."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_edge.faces import LabelledFaces, ValuedFaces

from quantize.intervals import Interval, bootstrap, paired_drop, proportion


@dataclass(frozen=True)
class Loss:
    """A loss as a fraction; `at` says what its interval would be at these rates with another number of faces."""

    name: str
    interval: Interval
    at: Callable[[float], Interval]

    @property
    def in_points(self) -> Interval:
        """The interval in points, hundredths."""
        return Interval(100 * self.interval.measured, 100 * self.interval.low, 100 * self.interval.high)


def losses(
    reference: NDArray[np.float32], predictions: NDArray[np.float32], truth: LabelledFaces | ValuedFaces
) -> tuple[Loss, ...]:
    """Disagreement with float, and the drops of what the task is judged by, from predictions (n, labels) of both."""
    if isinstance(truth, ValuedFaces):
        return _value_losses(reference, predictions, truth.values)
    first, second, labels = reference.argmax(axis=1), predictions.argmax(axis=1), truth.labels
    n = len(labels)
    lost = int(((first == labels) & (second != labels)).sum())
    gained = int(((first != labels) & (second == labels)).sum())
    differ = int((first != second).sum())
    macro_f1 = _macro_f1_drop(first, second, labels, reference.shape[1])
    return (
        Loss("agreement", proportion(differ, n), lambda count: proportion(differ * count / n, count)),
        Loss(
            "accuracy",
            paired_drop(lost, gained, n),
            lambda count: paired_drop(lost * count / n, gained * count / n, count),
        ),
        Loss("macro-F1", macro_f1, lambda count: macro_f1.scaled(float(np.sqrt(n / count)))),
    )


def _macro_f1_drop(
    first: NDArray[np.int64], second: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> Interval:
    """Paired bootstrap: two faces of the same label that both models name alike are of one kind."""
    codes = (labels * classes + first) * classes + second
    kinds, counts = np.unique(codes, return_counts=True)
    truth, one, other = kinds // classes**2, kinds // classes % classes, kinds % classes
    return bootstrap(
        lambda drawn: _macro_f1(drawn, truth, one, classes) - _macro_f1(drawn, truth, other, classes), counts
    )


def _macro_f1(
    drawn: NDArray[np.int64], truth: NDArray[np.int64], named: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Macro-F1 of each resample (r, kinds) over the classes it holds, (r,)."""
    scores, present = [], []
    for label in range(classes):
        hits = drawn[:, (truth == label) & (named == label)].sum(axis=1)
        support, claimed = drawn[:, truth == label].sum(axis=1), drawn[:, named == label].sum(axis=1)
        scores.append(2 * hits / np.maximum(support + claimed, 1))
        present.append(support > 0)
    held: NDArray[np.float64] = np.sum(np.array(scores) * np.array(present), axis=0) / np.maximum(
        np.sum(present, axis=0), 1
    )
    return held


def _value_losses(
    reference: NDArray[np.float32], predictions: NDArray[np.float32], values: NDArray[np.float32]
) -> tuple[Loss, ...]:
    n = len(values)
    ones = np.ones(n, dtype=np.int64)

    def mean_ccc(drawn: NDArray[np.int64], one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
        columns = zip(one.T.astype(np.float64), other.T.astype(np.float64), strict=True)
        ccc: NDArray[np.float64] = np.mean([_concordance(drawn, *column) for column in columns], axis=0)
        return ccc

    same = bootstrap(lambda drawn: 1 - mean_ccc(drawn, predictions, reference), ones)
    drop = bootstrap(lambda drawn: mean_ccc(drawn, values, reference) - mean_ccc(drawn, values, predictions), ones)
    return tuple(
        Loss(name, interval, lambda count, interval=interval: interval.scaled(float(np.sqrt(n / count))))  # type: ignore[misc]
        for name, interval in (("agreement", same), ("CCC", drop))
    )


def _concordance(drawn: NDArray[np.int64], one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lin's concordance of two series (n,) in each resample (r, n), (r,)."""
    n = drawn.sum(axis=1)
    mean_one, mean_other = drawn @ one / n, drawn @ other / n
    covariance = drawn @ (one * other) / n - mean_one * mean_other
    spread = drawn @ one**2 / n - mean_one**2 + drawn @ other**2 / n - mean_other**2 + (mean_one - mean_other) ** 2
    ccc: NDArray[np.float64] = np.where(spread > 0, 2 * covariance / np.maximum(spread, 1e-300), 1.0)
    return ccc
