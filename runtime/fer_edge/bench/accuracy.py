"""Accuracy on the board itself, with labelled faces a user brings."""

import dataclasses

import numpy as np

from fer_edge.bench.measure import Progress
from fer_edge.bench.rows import BenchRow
from fer_edge.classifier import Classifier
from fer_edge.faces import LabelledFaces
from fer_edge.metrics import classification_metrics

_BATCH = 64


def with_accuracy(row: BenchRow, classifier: Classifier, faces: LabelledFaces, progress: Progress = iter) -> BenchRow:
    """`row` with dataset, split, accuracy, macro-F1 and ECE. Raises DataError for a class the model does not know."""
    faces = faces.in_order_of(classifier.contract.labels)
    metrics = classification_metrics(faces.labels, probabilities_of(classifier, faces.images, progress))
    return dataclasses.replace(
        row,
        dataset=faces.dataset,
        split=faces.split,
        accuracy=metrics.accuracy,
        macro_f1=metrics.macro_f1,
        ece=metrics.ece,
    )


def probabilities_of(classifier: Classifier, images: np.ndarray, progress: Progress = iter) -> np.ndarray:
    """Probabilities (n, labels) of grey faces (n, h, w) uint8."""
    starts = range(0, len(images), _BATCH)
    return np.concatenate([classifier.classify(images[start : start + _BATCH]) for start in progress(starts)])
