"""Measure a finished model on one split and keep the figures in models/results.csv, or results-TASK.csv.

Training and selection see Training and PublicTest only; PrivateTest is read here alone, once a model is done.
"""

import datetime
import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.csv_tables import csv_cells, csv_header, write_cells
from fer_edge.errors import DataError, ModelError, UsageError
from fer_edge.metrics import ClassificationMetrics, classification_metrics

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit import checkpoint, tasks
from train.fit.goals import known
from train.fit.prediction import predict

_BATCH = 64
_HEAD_FIELDS = ("date", "model", "file", "checkpoint_sha256", "dataset", "split", "n")


@dataclass(frozen=True)
class Candidate:
    """A model: its file, the checkpoint that came from, its task and its answers.

    `answers` takes grey faces (n, 48, 48) uint8 and gives what the task promises (n, labels), in the order of `labels`.
    `finished` is false for the checkpoint of a fold or an ablation: its training is done, but nobody published it.
    """

    model: str
    file: str
    checkpoint_sha256: str
    task: str
    labels: tuple[str, ...]
    answers: Callable[[np.ndarray], np.ndarray]
    finished: bool = True


@dataclass(frozen=True)
class Evaluation:
    """A classifier on one split: `single` sees each face once; `flip` averages it with its mirror image."""

    candidate: Candidate
    dataset: str
    split: str
    single: ClassificationMetrics
    flip: ClassificationMetrics
    truth: np.ndarray
    predicted: np.ndarray

    @property
    def n(self) -> int:
        """Faces with a truth."""
        return self.single.n

    def figures(self) -> dict[str, float]:
        """The columns of its results file."""
        recall = zip((f"recall_{label}" for label in self.candidate.labels), self.single.recall, strict=True)
        return {
            "accuracy": self.single.accuracy,
            "macro_f1": self.single.macro_f1,
            "ece": self.single.ece,
            "flip_accuracy": self.flip.accuracy,
            "flip_macro_f1": self.flip.macro_f1,
            **dict(recall),
        }

    def lines(self) -> tuple[str, str]:
        """For people: single crop, and the average with the mirror image."""
        single, flip = self.single, self.flip
        return (
            f"single crop       accuracy {single.accuracy:.2%}  macro-F1 {single.macro_f1:.2%}  ECE {single.ece:.3f}",
            f"averaged flip     accuracy {flip.accuracy:.2%}  macro-F1 {flip.macro_f1:.2%}",
        )


@dataclass(frozen=True)
class FigureEvaluation:
    """A model of values or labels on one split; `single` and `flip` are the figures of `train.fit.tasks`, by name."""

    candidate: Candidate
    dataset: str
    split: str
    n: int
    single: dict[str, float]
    flip: dict[str, float]

    def figures(self) -> dict[str, float]:
        """The columns of its results file."""
        return {**self.single, **{f"flip_{name}": value for name, value in self.flip.items()}}

    def lines(self) -> tuple[str, str]:
        """For people: single crop, and the average with the mirror image."""
        return f"single crop       {_listed(self.single)}", f"averaged flip     {_listed(self.flip)}"


def _listed(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())


def open_candidate(path: Path) -> Candidate:
    """A checkpoint (.safetensors, run in float), or a deployable .onnx or .tflite. Raises ModelError."""
    return _deployable(path) if path.suffix in (".onnx", ".tflite") else from_checkpoint(checkpoint.load(path), path)


def from_checkpoint(loaded: checkpoint.Checkpoint, path: Path) -> Candidate:
    """A checkpoint that is already open."""
    info = loaded.info
    _require_labels(path, info.task, info.labels)

    def answers(images: np.ndarray) -> np.ndarray:
        return tasks.answers(info.task, predict(loaded.network, images), info.temperature)

    return Candidate(
        info.name, path.name, loaded.sha256, info.task, tuple(info.labels), answers, finished=bool(info.measured)
    )


def _require_labels(path: Path, task: str, labels: Sequence[str]) -> None:
    targets = tasks.labels_of(task)
    if sorted(labels) != sorted(targets):
        raise ModelError(f"{path}: its labels for {task} are {', '.join(labels)}; expected {', '.join(targets)}.")


def _deployable(path: Path) -> Candidate:
    classifier = Classifier(path, threads=os.cpu_count() or 1)
    contract = classifier.contract
    _require_labels(path, contract.task, contract.labels)
    labels = tasks.labels_of(contract.task)
    order = [contract.labels.index(label) for label in labels]

    def answers(images: np.ndarray) -> np.ndarray:
        parts = [classifier.classify(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)[:, order]

    return Candidate(contract.name, path.name, contract.checkpoint_sha256, contract.task, labels, answers)


def refuse_strangers(candidates: list[Candidate]) -> None:
    """Raise UsageError unless all come from one checkpoint: a stale export would be reported as the new model."""
    first = candidates[0]
    for other in candidates[1:]:
        if other.checkpoint_sha256 != first.checkpoint_sha256:
            raise UsageError(
                f"{other.file} comes from checkpoint {other.checkpoint_sha256[:12]}, {first.file} from "
                f"{first.checkpoint_sha256[:12]}. Run `make export quantize` again, or measure them apart."
            )


def evaluate(candidate: Candidate, data: Faces, split: str) -> Evaluation | FigureEvaluation:
    """Run every face of `split` that has a truth through the model.

    Raises UsageError for an unknown split, and for PrivateTest where the model is not finished: choosing among folds or
    variants by it would measure the choice.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown; there are: {', '.join(SPLITS)}.")
    if split == "PrivateTest" and not candidate.finished:
        raise UsageError(
            f"{candidate.file} is no finished model, and PrivateTest measures no other. Publish it with `make train`."
        )
    truth = data.truth(candidate.task)
    chosen = (data.usage == SPLITS.index(split)) & known(truth)
    if not chosen.any():
        raise DataError(f"{data.dataset}: no face of {split} has a truth for {candidate.task}.")
    images, truth = data.images[chosen], truth[chosen]
    single = candidate.answers(images)
    mirrored = candidate.answers(np.ascontiguousarray(images[:, :, ::-1]))
    flip = (single + tasks.mirrored_back(candidate.task, mirrored)) / 2
    if not tasks.is_of_classes(candidate.task):
        measured = [tasks.figures_of_answers(candidate.task, answers, truth) for answers in (single, flip)]
        return FigureEvaluation(candidate, data.dataset, split, len(truth), *measured)
    metrics = [classification_metrics(truth, answers) for answers in (single, flip)]
    return Evaluation(candidate, data.dataset, split, *metrics, truth, single.argmax(axis=1))


def results_path(folder: Path, task: str) -> Path:
    """Where the results of `task` are kept: each task has columns of its own."""
    return folder / ("results.csv" if task == "expression7" else f"results-{task}.csv")


def append_result(path: Path, result: Evaluation | FigureEvaluation) -> None:
    """Add one row to a results file; a row for the same checkpoint, file, dataset and split is replaced.

    Several trainings may end at once: the folder is locked from reading to writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        _replace_row(path, _row(result))
    finally:
        os.close(folder)


def _replace_row(path: Path, row: dict[str, str]) -> None:
    rows: list[dict[str, str]] = []
    columns = dict.fromkeys(row)
    if path.is_file():
        columns = dict.fromkeys([*csv_header(path), *row])
        rows = [cells for _, cells in csv_cells(path)]
    same = ("checkpoint_sha256", "file", "dataset", "split")
    rows = [old for old in rows if any(old.get(key) != row[key] for key in same)]
    write_cells(path, list(columns), [*rows, row])


def _row(result: Evaluation | FigureEvaluation) -> dict[str, str]:
    candidate = result.candidate
    head = (
        datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        *(candidate.model, candidate.file, candidate.checkpoint_sha256),
        *(result.dataset, result.split, str(result.n)),
    )
    figures = {name: f"{value:.4f}" for name, value in result.figures().items()}
    return {**dict(zip(_HEAD_FIELDS, head, strict=True)), **figures}
