"""A model of seven or of eight expressions on both label sets of the same faces: FER2013's own, and FER+'s majority.

The two answer nearly the same question; they differ by contempt, which FER2013 has not, and by who was asked. A model
of eight is judged on FER2013's labels without its contempt; one of seven never names it, and is wrong where FER+ does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import write_csv
from fer_edge.errors import UsageError
from fer_edge.metrics import classification_metrics
from fer_edge.tasks import FER_PLUS

from train.data.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.fit.evaluate import Candidate
from train.fit.goals import known

# What FER+ calls each of FER2013's seven.
_FER_PLUS_NAME = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
    "neutral": "neutral",
}
LABEL_SETS = {"FER2013": "expression7", "FER+ majority": "expression8"}


@dataclass(frozen=True)
class LabelSetRow:
    """One model on the n faces of a split that a label set says something of; accuracies are fractions, single crop."""

    model: str
    file: str
    checkpoint_sha256: str
    labels: str
    split: str
    n: int
    accuracy: float
    macro_f1: float


def in_terms_of(task: str, probabilities: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
    """Probabilities (n, labels) of either task as probabilities of `task`, (n, 7 or 8), with sum 1."""
    targets = FER_PLUS if task == "expression8" else tuple(_FER_PLUS_NAME[name] for name in EXPRESSIONS)
    named = [_FER_PLUS_NAME.get(label, label) for label in labels]
    columns = [
        probabilities[:, named.index(name)] if name in named else np.zeros(len(probabilities)) for name in targets
    ]
    chosen = np.stack(columns, axis=1).astype(np.float32)
    return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-9)


def measure(candidates: Sequence[Candidate], data: Fer2013, split: str) -> list[LabelSetRow]:
    """Each model on each label set. Raises UsageError for other tasks, and for unfinished models on PrivateTest."""
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown; there are: {', '.join(SPLITS)}.")
    return [row for candidate in candidates for row in _measured(candidate, data, split)]


def _measured(candidate: Candidate, data: Fer2013, split: str) -> list[LabelSetRow]:
    if candidate.task not in LABEL_SETS.values():
        raise UsageError(f"{candidate.file}: answers {candidate.task}, expected {' or '.join(LABEL_SETS.values())}.")
    if split == "PrivateTest" and not candidate.finished:
        raise UsageError(f"{candidate.file} is no finished model, and PrivateTest measures no other.")
    of_split = data.usage == SPLITS.index(split)
    answers = candidate.answers(data.images[of_split])
    rows = []
    for name, task in LABEL_SETS.items():
        truth = data.truth(task)[of_split]
        told = known(truth)
        metrics = classification_metrics(truth[told], in_terms_of(task, answers, candidate.labels)[told])
        head = (candidate.model, candidate.file, candidate.checkpoint_sha256, name, split)
        rows.append(LabelSetRow(*head, int(told.sum()), metrics.accuracy, metrics.macro_f1))
    return rows


def write(path: Path, rows: Sequence[LabelSetRow]) -> None:
    """All rows, accuracies with four digits."""
    write_csv(path, LabelSetRow, rows)


def table(rows: Sequence[LabelSetRow]) -> str:
    """Markdown: a model a line, accuracy and macro-F1 on each label set."""
    count = {row.labels: row.n for row in rows}
    heads = " | ".join(f"{name} (n = {count[name]}), macro-F1" for name in LABEL_SETS)
    lines = [f"| | {heads} |", "|---|---|---|"]
    for file in dict.fromkeys(row.file for row in rows):
        own = {row.labels: row for row in rows if row.file == file}
        cells = " | ".join(f"{own[name].accuracy:.2%}, {own[name].macro_f1:.2%}" for name in LABEL_SETS)
        lines.append(f"| `{file}` | {cells} |")
    return "\n".join(lines)
