"""Accuracy apart for the faces a model may have met: FER2013's splits share photographs, slightly changed.

The published splits are what everybody's figures are of, so they stay as they are; this says how far they flatter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import write_csv
from fer_edge.errors import UsageError

from train.data import duplicates
from train.data.fer2013 import SPLITS, Fer2013
from train.fit import evaluate, tasks
from train.fit.evaluate import Candidate
from train.fit.goals import known

_FIELDS = ("model", "file", "checkpoint_sha256", "split", "n", "with_copy", "accuracy_with_copy", "accuracy_without")


@dataclass(frozen=True)
class CopiesRow:
    """One model on the n faces of a split; `with_copy` of them have a near-copy in Training. Accuracy in [0, 1]."""

    model: str
    file: str
    checkpoint_sha256: str
    split: str
    n: int
    with_copy: int
    accuracy_with_copy: float
    accuracy_without: float

    @property
    def accuracy(self) -> float:
        """Of all faces."""
        right = self.accuracy_with_copy * self.with_copy + self.accuracy_without * (self.n - self.with_copy)
        return right / self.n


def in_training(data: Fer2013, split: str) -> NDArray[np.bool_]:
    """For each face of `split` whether Training holds a near-duplicate of it (`train.data.duplicates`)."""
    rows = np.flatnonzero(np.isin(data.usage, (SPLITS.index("Training"), SPLITS.index(split))))
    training = data.usage[rows] == SPLITS.index("Training")
    pairs = duplicates.pairs(data.images[rows])
    met = np.zeros(len(rows), dtype=bool)
    for one, other in (pairs.T, pairs.T[::-1]):
        met[one[training[other]]] = True
    return np.asarray(met[~training])


def measure(candidates: Sequence[Candidate], data: Fer2013, split: str) -> list[CopiesRow]:
    """Single crop, a row a model. Raises UsageError for a task without classes, and what `evaluate` refuses."""
    if split not in SPLITS[1:]:
        raise UsageError(f"split {split!r}: expected one beside Training, where copies are: {' or '.join(SPLITS[1:])}.")
    met = in_training(data, split)
    return [_measured(candidate, data, split, met) for candidate in candidates]


def _measured(candidate: Candidate, data: Fer2013, split: str, met: NDArray[np.bool_]) -> CopiesRow:
    if not tasks.is_of_classes(candidate.task):
        raise UsageError(f"{candidate.file}: {candidate.task} has no classes to be right about.")
    result = evaluate.evaluate(candidate, data, split)
    assert isinstance(result, evaluate.Evaluation), "a task of classes"
    has_truth = known(data.truth(candidate.task)[data.usage == SPLITS.index(split)])
    met, right = met[has_truth], result.predicted == result.truth
    with_copy = int(met.sum())
    if not 0 < with_copy < len(met):
        raise UsageError(f"{split}: {with_copy} of {len(met)} faces have a copy in Training; nothing to compare.")
    accuracies = (float(right[met].mean()), float(right[~met].mean()))
    return CopiesRow(
        candidate.model, candidate.file, candidate.checkpoint_sha256, split, len(met), with_copy, *accuracies
    )


def write(path: Path, rows: list[CopiesRow]) -> None:
    """One line a row, atomically."""
    write_csv(path, CopiesRow, rows)


def table(rows: list[CopiesRow]) -> str:
    """Markdown: accuracy on all faces, on those with a copy in Training, and on the others."""
    lines = ["| | all | with a copy in Training | without |", "|---|---|---|---|"]
    for row in rows:
        cells = (f"{row.accuracy:.2%}", f"{row.accuracy_with_copy:.2%}", f"{row.accuracy_without:.2%}")
        lines.append(f"| `{row.file}` | {' | '.join(cells)} |")
    return "\n".join(lines)
