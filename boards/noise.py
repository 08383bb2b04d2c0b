"""How a classifier bears noise: six kinds, five steps each; seeds are fixed, so every model sees the same pixels.

After the five-step noise of Oh & Kim, "Noise-Robust Deep Learning Model for Emotion Classification Using Facial
Expressions", IEEE Access 2024; their levels are not public, so these are ours. Accuracy is given for the seven classes
and for positive (happy) against negative (angry, disgust, fear, sad); faces that are neither do not count there.
"""

import csv
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_edge.bench.accuracy import probabilities_of
from fer_edge.classifier import Classifier
from fer_edge.faces import LabelledFaces
from fer_edge.files import atomic_write, sha256_of
from fer_edge.metrics import classification_metrics

POSITIVE, NEGATIVE = ("happy",), ("angry", "disgust", "fear", "sad")
CLEAN = "none"
_Generator = np.random.Generator


@dataclass(frozen=True)
class NoiseRow:
    """A model under one noise, for one task. `level` is in the unit `NOISES` names; step 0 is the clean picture."""

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


NOISE_COLUMNS = tuple(field.name for field in dataclasses.fields(NoiseRow))


def _gaussian(face: np.ndarray, sigma: float, generator: _Generator) -> np.ndarray:
    return face + generator.normal(0, sigma, face.shape)


def _salt_and_pepper(face: np.ndarray, fraction: float, generator: _Generator) -> np.ndarray:
    drawn = generator.random(face.shape)
    return np.where(drawn < fraction / 2, 0, np.where(drawn < fraction, 255, face))


def _speckle(face: np.ndarray, sigma: float, generator: _Generator) -> np.ndarray:
    return face * (1 + generator.normal(0, sigma, face.shape))


def _blur(face: np.ndarray, sigma: float, generator: _Generator) -> np.ndarray:
    return cv2.GaussianBlur(face, (0, 0), sigma)


def _jpeg(face: np.ndarray, quality: float, generator: _Generator) -> np.ndarray:
    _, data = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def _low_light(face: np.ndarray, gain: float, generator: _Generator) -> np.ndarray:
    """Fewer photons (four a grey level in full light) and two levels of read-out noise, not brightened again."""
    return generator.poisson(face * (gain * 4.0)) / 4.0 + generator.normal(0, 2, face.shape)


@dataclass(frozen=True)
class Noise:
    """One kind, its five levels from weak to strong, and what a level is."""

    apply: Callable[[np.ndarray, float, _Generator], np.ndarray]
    levels: tuple[float, float, float, float, float]
    unit: str


NOISES = {
    "gaussian": Noise(_gaussian, (5, 10, 20, 30, 45), "standard deviation, grey levels"),
    "salt-and-pepper": Noise(_salt_and_pepper, (0.01, 0.03, 0.06, 0.12, 0.2), "fraction of pixels"),
    "speckle": Noise(_speckle, (0.05, 0.1, 0.2, 0.3, 0.45), "standard deviation, times the grey level"),
    "blur": Noise(_blur, (0.5, 1.0, 1.5, 2.0, 3.0), "standard deviation, pixels of the face crop"),
    "jpeg": Noise(_jpeg, (50, 30, 20, 10, 5), "quality"),
    "low light": Noise(_low_light, (0.6, 0.4, 0.25, 0.15, 0.08), "share of the light"),
}


def noisy(images: np.ndarray, kind: str, step: int) -> np.ndarray:
    """Faces (n, h, w) uint8 under step 1..5 of a noise; the same every time, and for any order of the other steps."""
    noise = NOISES[kind]
    generator = np.random.default_rng([zlib.crc32(kind.encode()), step])
    made = [noise.apply(image, noise.levels[step - 1], generator) for image in images]
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def measure_noise(model: Path, faces: LabelledFaces, progress: Callable[..., Iterable] = iter) -> Iterator[NoiseRow]:
    """Rows for the clean faces and every noise and step, two tasks each. Raises DataError for unknown classes."""
    classifier = Classifier(model)
    faces = faces.in_order_of(classifier.contract.labels)
    conditions = [(CLEAN, 0), *((kind, step) for kind in NOISES for step in range(1, 6))]
    for kind, step in progress(conditions):
        images = faces.images if kind == CLEAN else noisy(faces.images, kind, step)
        level = 0.0 if kind == CLEAN else NOISES[kind].levels[step - 1]
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
    """Write the rows as CSV, atomically; fractions with four decimals."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, NOISE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            scores = {"accuracy": f"{row.accuracy:.4f}", "macro_f1": f"{row.macro_f1:.4f}"}
            writer.writerow({**dataclasses.asdict(row), **scores})
