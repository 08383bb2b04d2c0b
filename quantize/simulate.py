"""How often the gate passes a good and a bad file, by the number of faces: before there were intervals, and now."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.classifier import Classifier
from fer_edge.csv_tables import write_csv
from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces, load_task_faces

from quantize.gate import Limits, Verdict, quality_misses
from quantize.losses import losses
from quantize.measure import Runnable

COUNTS = (32, 70, 140, 280, 640, 1280, 1794, 3589)
# Of the faces on which fer-base's INT8 differs from float, 27 of 40 change between right and wrong.
_CHANGED_SIDES = 2 / 3


@dataclass(frozen=True)
class Rates:
    """Rates of a file on all faces: top-1 agreement with float, a fraction, and points of accuracy it loses."""

    agreement: float
    accuracy_drop_points: float


@dataclass(frozen=True)
class Frequency:
    """How often a file of these rates gets each verdict on `faces` faces drawn from the split; fractions of `draws`.

    `before` is of the measured figures alone against their limits, as the gate judged before it knew intervals.
    """

    agreement: float
    accuracy_drop_points: float
    faces: int
    draws: int
    before: float
    passed: float
    failed: float
    too_few: float
    model: str
    dataset: str


def simulate(
    float_path: Path, files: Sequence[Rates], faces: Path, split: str, draws: int, counts: Sequence[int] = COUNTS
) -> list[Frequency]:
    """Change the float model's predictions at random to the rates of each file, draw faces with replacement, and judge.

    Raises ModelError for a file without contract, UsageError for a task without classes.
    """
    reference = Runnable.of(Classifier(float_path))
    contract = reference.contract
    truth = load_task_faces(faces, split, contract.task, contract.labels)
    if not isinstance(truth, LabelledFaces):
        raise UsageError(f"{float_path}: task {contract.task}; expected a task of classes.")
    if len(contract.labels) < 3:
        raise UsageError(f"{float_path}: {len(contract.labels)} labels; expected 3 or more, to be wrong in two ways.")
    for rates in files:
        _changes(rates, len(truth))
    own = reference.predict(truth.images)
    found = []
    for rates in files:
        outputs = changed(own, truth.labels, rates)
        for count in tqdm(counts, desc=f"simulate {rates.agreement:.2%}", leave=False):
            shares = _shares(own, outputs, truth, count, draws)
            about = (contract.name, f"{truth.dataset} {truth.split}")
            found.append(Frequency(rates.agreement, rates.accuracy_drop_points, count, draws, *shares, *about))
    return found


def changed(own: NDArray[np.float32], labels: NDArray[np.int64], rates: Rates) -> NDArray[np.float32]:
    """Predictions (n, labels) that differ from `own` on random faces, to the rates asked for.

    Raises UsageError for rates that cannot be: more points lost than faces changed.
    """
    named = own.argmax(axis=1)
    lost, gained, both_wrong = _changes(rates, len(labels))
    generator = np.random.default_rng(0)
    right = generator.permutation(np.flatnonzero(named == labels))
    wrong = generator.permutation(np.flatnonzero(named != labels))
    second = np.argsort(own, axis=1)[:, -2]
    third = np.argsort(own, axis=1)[:, -3]
    made = named.copy()
    made[right[:lost]] = second[right[:lost]]
    made[wrong[:gained]] = labels[wrong[:gained]]
    others = wrong[gained : gained + both_wrong]
    made[others] = np.where(second[others] == labels[others], third[others], second[others])
    return np.eye(own.shape[1], dtype=np.float32)[made]


def _changes(rates: Rates, n: int) -> tuple[int, int, int]:
    """Of n faces, how many become wrong, become right, and are wrong in another way."""
    differ = (1 - rates.agreement) * n
    lost = round((_CHANGED_SIDES * differ + rates.accuracy_drop_points / 100 * n) / 2)
    gained = round((_CHANGED_SIDES * differ - rates.accuracy_drop_points / 100 * n) / 2)
    if min(lost, gained, differ) < 0:
        raise UsageError(
            f"--rates: agreement {rates.agreement:.2%} with a drop of {rates.accuracy_drop_points:g} points cannot be: "
            "more points lost than faces changed. Expected percent, then points of accuracy, such as 99 0.2."
        )
    return lost, gained, max(round(differ) - lost - gained, 0)


def _shares(
    own: NDArray[np.float32], outputs: NDArray[np.float32], truth: LabelledFaces, count: int, draws: int
) -> tuple[float, float, float, float]:
    generator = np.random.default_rng(count)
    rows = (generator.integers(0, len(truth), count) for _ in range(draws))
    verdicts = [_verdicts(own[row], outputs[row], dataclasses.replace(truth, labels=truth.labels[row])) for row in rows]
    before = np.mean([kept for kept, _ in verdicts])
    passed = np.mean([verdict.passed for _, verdict in verdicts])
    failed = np.mean([verdict.failed for _, verdict in verdicts])
    return tuple(round(float(share), 4) for share in (before, passed, failed, 1 - passed - failed))  # type: ignore[return-value]


def _verdicts(own: NDArray[np.float32], outputs: NDArray[np.float32], truth: LabelledFaces) -> tuple[bool, Verdict]:
    found, limits = losses(own, outputs, truth), Limits()
    allowed = (1 - limits.min_agreement, limits.max_accuracy_drop_points / 100, limits.max_macro_f1_drop_points / 100)
    kept = all(loss.interval.measured <= limit + 1e-9 for loss, limit in zip(found, allowed, strict=True))
    return kept, Verdict(quality_misses(found, len(truth), limits))


def write(frequencies: Sequence[Frequency], path: Path) -> None:
    """Write one row a file and number of faces, atomically."""
    write_csv(path, Frequency, frequencies)


def table(path: Path) -> str:
    """The CSV as a Markdown table: one row a number of faces, four columns a file."""
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files = list(dict.fromkeys((row["agreement"], row["accuracy_drop_points"]) for row in rows))
    heads = ["faces that judge"]
    for agreement, drop in files:
        heads += [f"{float(agreement):.2%} agree, drop {drop}: passed before", "pass", "fail", "too few"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for count in dict.fromkeys(row["faces"] for row in rows):
        cells = [f"{int(count):,}"]
        for file in files:
            row = next(r for r in rows if ((r["agreement"], r["accuracy_drop_points"]), r["faces"]) == (file, count))
            cells += [f"{float(row[name]):.0%}" for name in ("before", "passed", "failed", "too_few")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
