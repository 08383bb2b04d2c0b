"""Accuracy on the board itself, with labelled faces a user brings."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.bench.measure import Progress
from fer_edge.bench.rows import BenchRow
from fer_edge.classifier import Classifier
from fer_edge.errors import DataError
from fer_edge.faces import LabelledFaces, load_task_faces
from fer_edge.metrics import classification_metrics

logger = logging.getLogger("fer_edge")

_BATCH = 64


def with_accuracy(row: BenchRow, classifier: Classifier, path: Path, split: str, progress: Progress = iter) -> BenchRow:
    """`row` with dataset, split, accuracy, macro-F1 and ECE, measured on a folder or on one split of a cache.

    Raises DataError where those faces have no truth for the model's task, or the task has no classes.
    """
    contract = classifier.contract
    spec = contract.input
    faces = load_task_faces(path, split, contract.task, contract.labels, spec.size_px, colour=spec.channels == 3)
    if not isinstance(faces, LabelledFaces):
        raise DataError(f"{path}: accuracy is of classes, and {classifier.path.name} answers {contract.task}.")
    if spec.channels == 3 and faces.images.ndim == 3:
        logger.warning("%s: grey faces judge %s, which takes colour.", path, classifier.path.name)
    return scored(row, faces, probabilities_of(classifier, faces.images, progress))


def scored(row: BenchRow, faces: LabelledFaces, probabilities: NDArray[np.float32]) -> BenchRow:
    """`row` with the scores of `probabilities` (n, labels); `faces` number their classes as the model does."""
    metrics = classification_metrics(faces.labels, probabilities)
    return dataclasses.replace(
        row,
        dataset=faces.dataset,
        split=faces.split,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        ece=metrics.ece,
    )


def probabilities_of(
    classifier: Classifier, images: NDArray[np.uint8], progress: Progress = iter
) -> NDArray[np.float32]:
    """Probabilities (n, labels) of faces, grey (n, h, w) or BGR (n, h, w, 3) uint8, of any size."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([classifier.classify(images[start : start + _BATCH]) for start in progress(starts)])
