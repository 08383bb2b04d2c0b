"""The confusion matrix of a model: one CSV row a pair of true and predicted class."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.bench import BenchRow
from fer_edge.csv_tables import columns_of, write_csv
from fer_edge.faces import LabelledFaces
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


CONFUSION_COLUMNS = columns_of(ConfusionRow)


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
    write_csv(path, ConfusionRow, rows)
