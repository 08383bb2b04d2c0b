"""What a candidate computes and how fast, measured as a board would run it: contract, engine, one thread."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.metrics import ValueMetrics, agreement, classification_metrics, concordance, value_metrics
from fer_edge.tasks import CLASSES

_CHUNK = 32
_WARMUP, _ROUNDS = 20, 150
_FOLLOWS = 0.5


@dataclass(frozen=True)
class Score:
    """How `n` images of `dataset` were answered. `agreement` with the float model is in [0, 1].

    For classes it is the fraction of images that get the same one, for values the concordance (CCC) of the two models'
    estimates, averaged over the labels. `accuracy` and `macro_f1` are None for values or without a truth; `values` is
    empty for classes or without a truth, else one entry a label.
    """

    dataset: str
    n: int
    agreement: float
    accuracy: float | None = None
    macro_f1: float | None = None
    values: tuple[ValueMetrics, ...] = ()

    @property
    def ccc(self) -> float | None:
        """Mean concordance with the truth over the labels."""
        return float(np.mean([metrics.ccc for metrics in self.values])) if self.values else None


@dataclass(frozen=True)
class Latency:
    """Median time of one face, and the median of its ratios to the float model's time right before it."""

    p50_ms: float
    ratio_to_float: float


def answers_of(model: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the task promises, (n, labels) float32, of faces (n, h, w) uint8, with a bar when it takes long.

    Raises ModelError where an answer is no number.
    """
    starts = tqdm(range(0, len(images), _CHUNK), desc=f"run {model.path.name}", leave=False, delay=2)
    answers = np.concatenate([model.classify(images[start : start + _CHUNK]) for start in starts])
    broken = int((~np.isfinite(answers)).any(axis=1).sum())
    if broken:
        raise ModelError(f"{model.path.name}: {broken} of {len(images)} answers are no numbers.")
    return answers


def follows(answers: NDArray[np.float32], reference: NDArray[np.float32]) -> bool:
    """Whether answers (n, labels) change from face to face as the float model's do: correlated by half at least.

    Where there is no truth a model that gives every face the same answer may agree with float by chance.
    """
    own, other = (values - values.mean(axis=0) for values in (answers.astype(np.float64), reference.astype(np.float64)))
    scale = float(np.sqrt((own**2).sum() * (other**2).sum()))
    return scale > 0 and float((own * other).sum()) >= _FOLLOWS * scale


def score(
    answers: NDArray[np.float32],
    reference: NDArray[np.float32],
    faces: LabelledFaces | ValuedFaces | None,
    kind: str = CLASSES,
) -> Score:
    """Score answers (n, labels) against the float model's, and against the truth of `faces`.

    None for `faces` says that the images were the golden inputs, which have no truth.
    """
    same = agreement(answers, reference) if kind == CLASSES else _mean_concordance(answers, reference)
    if faces is None:
        return Score("golden inputs", len(answers), same)
    name = f"{faces.dataset} {faces.split}"
    if isinstance(faces, ValuedFaces):
        columns = zip(faces.values.T, answers.T, strict=True)
        return Score(name, len(answers), same, values=tuple(value_metrics(*column) for column in columns))
    metrics = classification_metrics(faces.labels, answers)
    return Score(name, len(answers), same, metrics.accuracy, metrics.macro_f1)


def _mean_concordance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.mean([concordance(one, other) for one, other in zip(first.T, second.T, strict=True)]))


def paired_latencies(models: Sequence[Classifier], face: NDArray[np.uint8]) -> list[Latency]:
    """Latency of each model on one face (h, w) uint8, all taking turns in one run; the first is the float model.

    Turns, because a busy or throttled machine slows all alike: the ratio holds where the times do not. Each turn runs
    the model once unmeasured: right behind a large float model its weights would have to be fetched from memory again,
    and the same graph took a fifth longer there than behind a small one.
    """
    inputs = [model.contract.model_input(face[None]) for model in models]
    runs = [functools.partial(model.engine.run, tensor) for model, tensor in zip(models, inputs, strict=True)]
    times_ms = np.array([[_time_ms(run) for run in runs] for _ in range(_WARMUP + _ROUNDS)])[_WARMUP:]
    ratios = np.median(times_ms / times_ms[:, :1], axis=0)
    return [Latency(float(p50), float(ratio)) for p50, ratio in zip(np.median(times_ms, axis=0), ratios, strict=True)]


def _time_ms(run: Callable[[], object]) -> float:
    run()
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000
