"""What a candidate computes and how fast, measured as a board would run it: contract, engine, one thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.faces import LabelledFaces
from fer_edge.metrics import agreement, classification_metrics

_CHUNK = 32
_WARMUP, _ROUNDS = 20, 150


@dataclass(frozen=True)
class Score:
    """Fractions in [0, 1] on `n` images of `dataset`; accuracy and macro_f1 are None where there are no labels."""

    dataset: str
    n: int
    agreement: float
    accuracy: float | None = None
    macro_f1: float | None = None


@dataclass(frozen=True)
class Latency:
    """Median time of one face, and the median of its ratios to the float model's time right before it."""

    p50_ms: float
    ratio_to_float: float


def logits_of(model: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (n, labels) float32 of faces (n, h, w) uint8, with a bar when it takes long."""
    starts = tqdm(range(0, len(images), _CHUNK), desc=f"run {model.path.name}", leave=False, delay=2)
    return np.concatenate([model.logits(images[start : start + _CHUNK]) for start in starts])


def score(logits: NDArray[np.float32], reference: NDArray[np.float32], faces: LabelledFaces | None) -> Score:
    """Score logits (n, labels) against the float model's, and against the labels of `faces`.

    None for `faces` says that the images were the golden inputs, which have no labels.
    """
    same = agreement(logits, reference)
    if faces is None:
        return Score("golden inputs", len(logits), same)
    metrics = classification_metrics(faces.labels, logits)
    return Score(f"{faces.dataset} {faces.split}", len(logits), same, metrics.accuracy, metrics.macro_f1)


def paired_latency(first: Classifier, second: Classifier, face: NDArray[np.uint8]) -> tuple[Latency, Latency]:
    """Latency of the float model `first` and of `second` on one face (h, w) uint8, taking turns.

    Turns, because a busy or throttled machine slows both alike: the ratio holds where the times do not.
    """
    inputs = [model.contract.model_input(face[None]) for model in (first, second)]
    runs: list[Callable[[], object]] = [
        lambda: first.engine.run(inputs[0]),
        lambda: second.engine.run(inputs[1]),
    ]
    times_ms = np.array([[_time_ms(run) for run in runs] for _ in range(_WARMUP + _ROUNDS)])[_WARMUP:]
    p50_ms = np.median(times_ms, axis=0)
    return Latency(float(p50_ms[0]), 1.0), Latency(float(p50_ms[1]), float(np.median(times_ms[:, 1] / times_ms[:, 0])))


def _time_ms(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000
