"""The confusion matrix as CSV: a row a pair of classes, of the very model and faces that were measured."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fer_edge.faces import LabelledFaces

from boards.confusion import CONFUSION_COLUMNS, confusion_rows, write_confusions

FACES = LabelledFaces(
    np.zeros((4, 48, 48), np.uint8), np.array([0, 0, 1, 2]), ("happy", "sad", "neutral"), "FER2013", "PublicTest"
)
MODEL = SimpleNamespace(model="small.int8.onnx", model_sha256="a" * 64)


def test_every_pair_of_classes_has_a_row_and_the_counts_are_all_faces() -> None:
    rows = confusion_rows(MODEL, FACES, np.eye(3)[[0, 1, 1, 0]])
    assert len(rows) == 9
    counts = {(row.truth, row.predicted): row.count for row in rows if row.count}
    assert counts == {("happy", "happy"): 1, ("happy", "sad"): 1, ("sad", "sad"): 1, ("neutral", "happy"): 1}
    assert {(row.model, row.dataset, row.split) for row in rows} == {("small.int8.onnx", "FER2013", "PublicTest")}


def test_rows_are_written_under_their_columns(tmp_path: Path) -> None:
    write_confusions(tmp_path / "confusion.csv", confusion_rows(MODEL, FACES, np.eye(3)[[0, 1, 1, 0]]))
    with open(tmp_path / "confusion.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == CONFUSION_COLUMNS
    assert sum(int(row["count"]) for row in rows) == 4
