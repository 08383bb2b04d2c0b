"""Who was taken for whom: one CSV row a pair of classes."""

import csv
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.bench import BenchRow
from fer_edge.faces import LabelledFaces
from fer_edge.files import atomic_write
from fer_edge.metrics import confusion_matrix


@dataclass(frozen=True)
class ConfusionRow:
    """`count` faces of class `truth` were called `predicted`."""

    model: str
    model_sha256: str
    dataset: str
    split: str
    truth: str
    predicted: str
    count: int


CONFUSION_COLUMNS = tuple(field.name for field in dataclasses.fields(ConfusionRow))


def confusion_rows(row: BenchRow, faces: LabelledFaces, probabilities: np.ndarray) -> list[ConfusionRow]:
    """Every pair of classes, of the model and faces that `row` describes; probabilities (n, classes)."""
    names = faces.label_names
    matrix = confusion_matrix(faces.labels, probabilities.argmax(axis=1), len(names))
    return [
        ConfusionRow(row.model, row.model_sha256, faces.dataset, faces.split, truth, predicted, int(matrix[i, j]))
        for i, truth in enumerate(names)
        for j, predicted in enumerate(names)
    ]


def write_confusions(path: Path, rows: Iterable[ConfusionRow]) -> None:
    """Write the rows as CSV, atomically."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, CONFUSION_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
