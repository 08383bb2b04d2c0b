"""Measure a finished checkpoint on one split and keep the figure in models/results.csv.

Training and selection see Training and PublicTest only; PrivateTest is read here alone, once a model is done.
"""

import csv
import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import ClassificationMetrics, classification_metrics, softmax

from train import checkpoint
from train.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.loop import predict

RESULTS_FIELDS = (
    "date",
    "model",
    "checkpoint_sha256",
    "dataset",
    "split",
    "n",
    "accuracy",
    "macro_f1",
    "ece",
    "flip_accuracy",
    "flip_macro_f1",
    *(f"recall_{label}" for label in EXPRESSIONS),
)


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint on one split: `single` sees each face once; `flip` averages it with its mirror image."""

    model: str
    checkpoint_sha256: str
    split: str
    single: ClassificationMetrics
    flip: ClassificationMetrics
    truth: np.ndarray
    predicted: np.ndarray


def evaluate(loaded: checkpoint.Checkpoint, data: Fer2013, split: str) -> Evaluation:
    """Run every face of `split` through the network in float. Raises UsageError for an unknown split."""
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown; there are: {', '.join(SPLITS)}.")
    chosen = data.usage == SPLITS.index(split)
    images, truth = data.images[chosen], data.emotions[chosen]
    temperature = loaded.info.temperature
    single = softmax(predict(loaded.network, images) / temperature)
    mirrored = softmax(predict(loaded.network, np.ascontiguousarray(images[:, :, ::-1])) / temperature)
    return Evaluation(
        loaded.info.name,
        loaded.sha256,
        split,
        classification_metrics(truth, single),
        classification_metrics(truth, (single + mirrored) / 2),
        truth,
        single.argmax(axis=1),
    )


def append_result(path: Path, result: Evaluation) -> None:
    """Add one row to results.csv; a row for the same checkpoint and split is replaced."""
    row = _row(result)
    rows = []
    if path.is_file():
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream))
    same = ("checkpoint_sha256", "split")
    rows = [old for old in rows if any(old[key] != row[key] for key in same)]
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, RESULTS_FIELDS)
        writer.writeheader()
        writer.writerows([*rows, row])


def _row(result: Evaluation) -> dict[str, str]:
    figures = {
        "accuracy": result.single.accuracy,
        "macro_f1": result.single.macro_f1,
        "ece": result.single.ece,
        "flip_accuracy": result.flip.accuracy,
        "flip_macro_f1": result.flip.macro_f1,
    }
    figures.update(zip((f"recall_{label}" for label in EXPRESSIONS), result.single.recall, strict=True))
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "model": result.model,
        "checkpoint_sha256": result.checkpoint_sha256,
        "dataset": "FER2013",
        "split": result.split,
        "n": str(result.single.n),
        **{key: f"{value:.4f}" for key, value in figures.items()},
    }
