"""Running one model as a board would, by its contract and engine on one thread: predictions, scores, times."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.engines import Engine, open_engine
from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.metrics import ValueMetrics, agreement, classification_metrics, concordance, value_metrics
from fer_edge.tasks import CLASSES

from quantize.intervals import Interval, median
from quantize.qdq_graph import ConvCount
from quantize.recipes import Target

_CHUNK = 32
_WARMUP, _ROUNDS = 20, 150
_MIN_CORRELATION = 0.5


@dataclass(frozen=True)
class Runnable:
    """A model file with the contract it is run by, which a trial's file does not carry yet."""

    path: Path
    engine: Engine
    contract: ModelContract

    @classmethod
    def of(cls, classifier: Classifier) -> "Runnable":
        """A float model, by its own contract."""
        return cls(classifier.path, classifier.engine, classifier.contract)

    @classmethod
    def opened(cls, path: Path, contract: ModelContract) -> "Runnable":
        """Open a file on one thread. Raises ModelError where the engine refuses it."""
        return cls(path, open_engine(path), contract)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict the task's numbers, (n, labels) float32, of faces (n, h, w) uint8, with a bar when it takes long.

        Raises ModelError where a prediction is not a finite number.
        """
        starts = tqdm(range(0, len(images), _CHUNK), desc=f"run {self.path.name}", leave=False, delay=2)
        predictions = np.concatenate([self._predict(images[start : start + _CHUNK]) for start in starts])
        broken = int((~np.isfinite(predictions)).any(axis=1).sum())
        if broken:
            raise ModelError(f"{self.path.name}: {broken} of {len(images)} predictions are not finite numbers.")
        return predictions

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs: Any = self.engine.run(self.contract.model_input(images))[0]
        return self.contract.answers(np.asarray(outputs, dtype=np.float32))


@dataclass(frozen=True)
class Score:
    """How the predictions for `n` images of `dataset` score. `agreement` with the float model is in [0, 1].

    For classes it is the fraction of images with the same top class, for values the concordance (CCC) of the two
    models' estimates, averaged over the labels. `accuracy` and `macro_f1` are None for values or without ground truth;
    `values` is empty for classes or without ground truth, else one entry a label.
    """

    dataset: str
    n: int
    agreement: float
    accuracy: float | None = None
    macro_f1: float | None = None
    values: tuple[ValueMetrics, ...] = ()

    @property
    def ccc(self) -> float | None:
        """Mean concordance with the ground truth over the labels."""
        return float(np.mean([metrics.ccc for metrics in self.values])) if self.values else None


@dataclass(frozen=True)
class Measurements:
    """All that was measured of one model file, float or smaller.

    `outputs` (n, labels): predictions for the images that judge. `times_ms` (rounds,): of one face, each round beside
    the other models'. `instructions` of one face on the target's core, None where they were not counted.
    `weight_bytes` leaves out what a file says of itself. `is_correlated`: predictions follow the float model's.
    """

    precision: str
    graph_sha256: str
    size_bytes: int
    weight_bytes: int
    convs: ConvCount
    score: Score
    is_correlated: bool
    instructions: int | None
    outputs: NDArray[np.float32] = field(repr=False)
    times_ms: NDArray[np.float64] = field(repr=False)

    @property
    def p50_ms(self) -> float:
        """Median time of one face."""
        return float(np.median(self.times_ms))

    def time_to(self, other: "Measurements") -> Interval:
        """The median ratio of times to another model's of the same rounds."""
        return median(self.times_ms / other.times_ms)

    def speed(self, other: "Measurements", target: Target) -> Interval | None:
        """The ratio to another model of what the target's speed is judged by; None where that was not measured."""
        if target.speed == "time":
            return self.time_to(other)
        if target.speed == "none" or not self.instructions or not other.instructions:
            return None
        ratio = self.instructions / other.instructions
        # Counts repeat within 1 %: see boards/arm64/counting.py.
        return Interval(ratio, 0.99 * ratio, 1.01 * ratio)


def score(
    predictions: NDArray[np.float32],
    reference: NDArray[np.float32],
    faces: LabelledFaces | ValuedFaces | None,
    kind: str = CLASSES,
) -> Score:
    """Score predictions (n, labels) against the float model's, and against the ground truth of `faces`.

    None for `faces` says that the images were the golden inputs, which have no ground truth.
    """
    same = agreement(predictions, reference) if kind == CLASSES else mean_concordance(predictions, reference)
    if faces is None:
        return Score("golden inputs", len(predictions), same)
    name = f"{faces.dataset} {faces.split}"
    if isinstance(faces, ValuedFaces):
        columns = zip(faces.values.T, predictions.T, strict=True)
        return Score(name, len(predictions), same, values=tuple(value_metrics(*column) for column in columns))
    metrics = classification_metrics(faces.labels, predictions)
    return Score(name, len(predictions), same, metrics.accuracy, metrics.macro_f1)


def mean_concordance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Concordance of two models' estimates (n, labels), averaged over the labels."""
    return float(np.mean([concordance(one, other) for one, other in zip(first.T, second.T, strict=True)]))


def is_correlated(predictions: NDArray[np.float32], reference: NDArray[np.float32]) -> bool:
    """Whether predictions (n, labels) vary from face to face as the float model's do: correlation 0.5 or more.

    Without ground truth, a model that predicts the same for every face may agree with float by chance.
    """
    own, other = (
        values - values.mean(axis=0) for values in (predictions.astype(np.float64), reference.astype(np.float64))
    )
    scale = float(np.sqrt((own**2).sum() * (other**2).sum()))
    return scale > 0 and float((own * other).sum()) >= _MIN_CORRELATION * scale


def paired_times_ms(models: Sequence[Runnable], face: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Milliseconds of each model on one face (h, w) uint8, all taking turns: (rounds, models).

    Turns, because a busy or throttled machine slows all alike: ratios within a round hold where the times do not. Each
    turn runs the model once untimed: right behind a large float model its weights would have to be fetched from memory
    again, and the same graph took a fifth longer there than behind a small one.
    """
    inputs = [model.contract.model_input(face[None]) for model in models]
    runs = [_run(model.engine, tensor) for model, tensor in zip(models, inputs, strict=True)]
    return np.array([[_time_ms(run) for run in runs] for _ in range(_WARMUP + _ROUNDS)])[_WARMUP:]


def _run(engine: Engine, tensor: NDArray[Any]) -> Callable[[], object]:
    return lambda: engine.run(tensor)


def _time_ms(run: Callable[[], object]) -> float:
    run()
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000
