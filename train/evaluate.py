"""Measure a finished model on one split and keep the figure in models/results.csv.

Training and selection see Training and PublicTest only; PrivateTest is read here alone, once a model is done.
"""

import csv
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.errors import ModelError, UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import ClassificationMetrics, classification_metrics, softmax

from train import checkpoint
from train.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.loop import predict

_BATCH = 64
RESULTS_FIELDS = (
    "date",
    "model",
    "file",
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
class Candidate:
    """A finished model: its file, the checkpoint that came from, and its answers.

    `probabilities` takes grey faces (n, 48, 48) uint8 and gives (n, 7) in the order of EXPRESSIONS.
    """

    model: str
    file: str
    checkpoint_sha256: str
    probabilities: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Evaluation:
    """A model file on one split: `single` sees each face once; `flip` averages it with its mirror image."""

    model: str
    file: str
    checkpoint_sha256: str
    split: str
    single: ClassificationMetrics
    flip: ClassificationMetrics
    truth: np.ndarray
    predicted: np.ndarray


def open_candidate(path: Path) -> Candidate:
    """A checkpoint (.safetensors, run in float), or a deployable .onnx or .tflite. Raises ModelError."""
    return _deployable(path) if path.suffix in (".onnx", ".tflite") else from_checkpoint(checkpoint.load(path), path)


def from_checkpoint(loaded: checkpoint.Checkpoint, path: Path) -> Candidate:
    """A checkpoint that is already open."""
    info = loaded.info
    if tuple(info.labels) != EXPRESSIONS:
        raise ModelError(f"{path}: its classes are {', '.join(info.labels)}; FER2013 has {', '.join(EXPRESSIONS)}.")
    return Candidate(
        info.name,
        path.name,
        loaded.sha256,
        lambda images: softmax(predict(loaded.network, images) / info.temperature),
    )


def _deployable(path: Path) -> Candidate:
    classifier = Classifier(path, threads=os.cpu_count() or 1)
    contract = classifier.contract
    if sorted(contract.labels) != sorted(EXPRESSIONS):
        raise ModelError(f"{path}: its classes are {', '.join(contract.labels)}; FER2013 has {', '.join(EXPRESSIONS)}.")
    order = [contract.labels.index(label) for label in EXPRESSIONS]

    def probabilities(images: np.ndarray) -> np.ndarray:
        parts = [classifier.classify(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)[:, order]

    return Candidate(contract.name, path.name, contract.checkpoint_sha256, probabilities)


def refuse_strangers(candidates: list[Candidate]) -> None:
    """Raise UsageError unless all come from one checkpoint: a stale export would be reported as the new model."""
    first = candidates[0]
    for other in candidates[1:]:
        if other.checkpoint_sha256 != first.checkpoint_sha256:
            raise UsageError(
                f"{other.file} comes from checkpoint {other.checkpoint_sha256[:12]}, {first.file} from "
                f"{first.checkpoint_sha256[:12]}. Run `make export quantize` again, or measure them apart."
            )


def evaluate(candidate: Candidate, data: Fer2013, split: str) -> Evaluation:
    """Run every face of `split` through the model. Raises UsageError for an unknown split."""
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown; there are: {', '.join(SPLITS)}.")
    chosen = data.usage == SPLITS.index(split)
    images, truth = data.images[chosen], data.emotions[chosen]
    single = candidate.probabilities(images)
    mirrored = candidate.probabilities(np.ascontiguousarray(images[:, :, ::-1]))
    return Evaluation(
        candidate.model,
        candidate.file,
        candidate.checkpoint_sha256,
        split,
        classification_metrics(truth, single),
        classification_metrics(truth, (single + mirrored) / 2),
        truth,
        single.argmax(axis=1),
    )


def append_result(path: Path, result: Evaluation) -> None:
    """Add one row to results.csv; a row for the same checkpoint, file and split is replaced."""
    row = _row(result)
    rows = []
    if path.is_file():
        with open(path, newline="") as stream:
            rows = list(csv.DictReader(stream))
    same = ("checkpoint_sha256", "file", "split")
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
        "file": result.file,
        "checkpoint_sha256": result.checkpoint_sha256,
        "dataset": "FER2013",
        "split": result.split,
        "n": str(result.single.n),
        **{key: f"{value:.4f}" for key, value in figures.items()},
    }
