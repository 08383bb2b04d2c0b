"""How a classifier bears noise: six kinds, five steps each; seeds are fixed, so every model sees the same pixels.

After the five-step noise of Oh & Kim, "Noise-Robust Deep Learning Model for Emotion Classification Using Facial
Expressions", IEEE Access 2024; their levels are not public, so these are ours. Accuracy is given for the seven classes
and for positive (happy) against negative (angry, disgust, fear, sad); faces that are neither do not count there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.bench.accuracy import probabilities_of
from fer_edge.classifier import Classifier
from fer_edge.csv_tables import columns_of, write_csv
from fer_edge.faces import LabelledFaces
from fer_edge.files import sha256_of
from fer_edge.metrics import classification_metrics
from fer_edge.noise import NOISES, STEPS, add_noise
from fer_edge.noise import level as level_of
from fer_edge.truth import POSITIVE_SHARE

POSITIVE, NEGATIVE = (tuple(name for name in POSITIVE_SHARE if POSITIVE_SHARE[name] == share) for share in (1.0, 0.0))
CLEAN = "none"


@dataclass(frozen=True)
class NoiseRow:
    """A model under one noise, for one task. `level` is in the unit `LADDER` names; step 0 is the clean picture."""

    model: str
    model_sha256: str
    precision: str
    dataset: str
    split: str
    task: str
    noise: str
    step: int
    level: float
    n: int
    accuracy: float
    macro_f1: float


NOISE_COLUMNS = columns_of(NoiseRow)


def measure_noise(model: Path, faces: LabelledFaces, progress: Callable[..., Iterable] = iter) -> Iterator[NoiseRow]:
    """Rows for the clean faces and every noise and step, two tasks each. Raises DataError for unknown classes."""
    classifier = Classifier(model)
    faces = faces.in_order_of(classifier.contract.labels)
    conditions = [(CLEAN, 0), *((kind, step) for kind in NOISES for step in range(1, STEPS + 1))]
    for kind, step in progress(conditions):
        images = faces.images if kind == CLEAN else add_noise(faces.images, kind, step)
        level = 0.0 if kind == CLEAN else level_of(kind, step)
        probabilities = probabilities_of(classifier, images)
        for task, truth, scores in _tasks(classifier.contract.labels, faces.labels, probabilities):
            metrics = classification_metrics(truth, scores)
            yield NoiseRow(
                model=model.name,
                model_sha256=sha256_of(model),
                precision=classifier.contract.precision,
                dataset=faces.dataset,
                split=faces.split,
                task=task,
                noise=kind,
                step=step,
                level=level,
                n=metrics.n,
                accuracy=metrics.accuracy,
                macro_f1=metrics.macro_f1,
            )


def _tasks(
    labels: tuple[str, ...], truth: np.ndarray, probabilities: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, true classes and scores of each task: the model's own, then negative (0) against positive (1)."""
    yield f"expression{len(labels)}", truth, probabilities
    groups = [[labels.index(name) for name in names if name in labels] for names in (NEGATIVE, POSITIVE)]
    counted = np.isin(truth, groups[0] + groups[1])
    scores = np.stack([probabilities[counted][:, group].sum(axis=1) for group in groups], axis=1)
    yield "positive-negative", np.isin(truth[counted], groups[1]).astype(np.int64), scores


def write_noise(path: Path, rows: Iterable[NoiseRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, NoiseRow, rows)
