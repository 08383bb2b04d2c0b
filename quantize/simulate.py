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
from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces, load_task_faces
from fer_edge.files import atomic_write

from quantize.gate import Limits, Verdict, quality_misses
from quantize.losses import losses
from quantize.measure import Runnable

COUNTS = (32, 70, 140, 280, 640, 1280, 1794, 3589)


@dataclass(frozen=True)
class Frequency:
    """How often one file gets each verdict on `faces` faces drawn from the split; fractions of `draws`.

    `before` is of the measured figures alone against their limits, as the gate judged before it knew intervals.
    """

    file: str
    agreement: float
    accuracy_drop_points: float
    faces: int
    draws: int
    before: float
    passed: float
    failed: float
    too_few: float
    dataset: str


def simulate(
    float_path: Path, files: Sequence[Path], faces: Path, split: str, draws: int, counts: Sequence[int] = COUNTS
) -> list[Frequency]:
    """Draw faces of a split with replacement and judge each file of `files` against the float model on them.

    Raises ModelError for a file without contract, UsageError for a task without classes.
    """
    reference = Runnable.of(Classifier(float_path))
    contract = reference.contract
    truth = load_task_faces(faces, split, contract.task, contract.labels)
    if not isinstance(truth, LabelledFaces):
        raise UsageError(f"{float_path}: task {contract.task}; expected a task of classes.")
    own = reference.predict(truth.images)
    found = []
    for path in files:
        outputs = Runnable.of(Classifier(path)).predict(truth.images)
        agreement, drop, _ = losses(own, outputs, truth)
        for count in tqdm(counts, desc=f"simulate {path.name}", leave=False):
            shares = _shares(own, outputs, truth, count, draws)
            about = (path.name, round(1 - agreement.interval.measured, 4), round(100 * drop.interval.measured, 2))
            found.append(Frequency(*about, count, draws, *shares, f"{truth.dataset} {truth.split}"))
    return found


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
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in dataclasses.fields(Frequency)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(frequency) for frequency in frequencies)


def table(path: Path) -> str:
    """The CSV as a Markdown table: one row a number of faces, one group of columns a file."""
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files = list(dict.fromkeys(row["file"] for row in rows))
    heads = ["faces that judge"]
    for file in files:
        row = next(row for row in rows if row["file"] == file)
        about = f"{float(row['agreement']):.2%} agree, drop {row['accuracy_drop_points']}"
        heads += [f"`{file}` ({about}): passed before", "pass", "fail", "too few"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for count in dict.fromkeys(row["faces"] for row in rows):
        cells = [f"{int(count):,}"]
        for file in files:
            row = next(row for row in rows if (row["file"], row["faces"]) == (file, count))
            cells += [f"{float(row[name]):.0%}" for name in ("before", "passed", "failed", "too_few")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
