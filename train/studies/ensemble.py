"""Which teachers are worth having: accuracy on PublicTest of every small group of models that answer together."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import write_csv
from fer_edge.errors import UsageError
from fer_edge.metrics import classification_metrics

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit.evaluate import Candidate
from train.fit.goals import known

_SELECTION = "PublicTest"


@dataclass(frozen=True)
class GroupRow:
    """One row of the CSV: models by name, joined with +, judged by their mean probabilities over face and mirror image.

    `gain` is the accuracy above the best of its members alone. Accuracies are fractions; the split is PublicTest.
    """

    group: str
    members: int
    n: int
    accuracy: float
    macro_f1: float
    gain: float


def measure(candidates: Sequence[Candidate], data: Faces, *, largest: int = 3) -> list[GroupRow]:
    """Every group of 1 to `largest` models, the most accurate first. Raises UsageError where tasks differ."""
    task = candidates[0].task
    for other in candidates[1:]:
        if other.task != task:
            raise UsageError(f"{other.file} answers {other.task}, expected {task} as {candidates[0].file} does.")
    truth = data.truth(task)
    chosen = (data.usage == SPLITS.index(_SELECTION)) & known(truth)
    images, truth = data.images[chosen], truth[chosen]
    answers = {one.model: _mirrored_mean(one, images) for one in candidates}
    alone = {name: classification_metrics(truth, table).accuracy for name, table in answers.items()}
    rows = []
    for size in range(1, largest + 1):
        for group in itertools.combinations(answers, size):
            mean = np.mean([answers[name] for name in group], axis=0)
            metrics = classification_metrics(truth, mean)
            gain = metrics.accuracy - max(alone[name] for name in group)
            rows.append(GroupRow("+".join(group), size, len(truth), metrics.accuracy, metrics.macro_f1, gain))
    return sorted(rows, key=lambda row: -row.accuracy)


def _mirrored_mean(candidate: Candidate, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    return (candidate.answers(images) + candidate.answers(mirrored)) / 2


def write(path: Path, rows: Sequence[GroupRow]) -> None:
    """All rows, accuracies with four digits."""
    write_csv(path, GroupRow, rows)


def table(rows: Sequence[GroupRow]) -> str:
    """Markdown: one line a group."""
    lines = [
        f"| {row.group.replace('+', ' + ')} | {row.accuracy:.2%} | {row.macro_f1:.2%} | {100 * row.gain:+.2f} |"
        for row in rows
    ]
    return "\n".join(["| together | accuracy | macro-F1 | above its best member |", "|---|---|---|---|", *lines])
