"""How accuracy falls as noise grows, for several models side by side: the robustness curve.

Oh and Kim (2024) find up to 15 % more robustness by training under noise, and none worth having at the strongest step.
This measures both on PublicTest: every kind of noise, every step, and the gain over the first model in points.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.csv_tables import write_cells
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import classification_metrics
from fer_edge.noise import NOISES, STEPS, add_noise, level

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit import tasks
from train.fit.evaluate import Candidate
from train.fit.goals import known

_FIELDS = (
    *("model", "file", "dataset", "split", "n", "noise", "step", "level", "seed"),
    *("accuracy", "macro_f1", "gain_points"),
)


@dataclass(frozen=True)
class RobustnessRow:
    """One model under one kind and step of noise; step 0 is the clean face. Fractions in [0, 1], n faces."""

    model: str
    file: str
    dataset: str
    n: int
    noise: str
    step: int
    seed: int
    accuracy: float
    macro_f1: float


def measure(candidates: list[Candidate], data: Faces, *, seed: int = 0) -> list[RobustnessRow]:
    """Every candidate on PublicTest, clean and under every noise, all of them on the very same noisy faces.

    Raises UsageError for a model whose task has no classes, or for models of different tasks.
    """
    names = {candidate.task for candidate in candidates}
    if len(names) != 1 or not tasks.is_of_classes(next(iter(names))):
        raise UsageError(f"robustness compares models of one task of classes; these are of {', '.join(sorted(names))}.")
    truth = data.truth(names.pop())
    chosen = (data.usage == SPLITS.index("PublicTest")) & known(truth)
    images, truth = data.images[chosen], truth[chosen]
    conditions = [("clean", 0), *((kind, step) for kind in NOISES for step in range(1, STEPS + 1))]
    rows = []
    for kind, step in tqdm(conditions, desc="robustness", unit=" steps", leave=False):
        noisy = images if step == 0 else add_noise(images, kind, step, seed)
        for candidate in candidates:
            metrics = classification_metrics(truth, candidate.answers(noisy))
            where = (candidate.model, candidate.file, data.dataset, metrics.n, kind, step, seed)
            rows.append(RobustnessRow(*where, metrics.accuracy, metrics.macro_f1))
    return rows


def gains(rows: list[RobustnessRow]) -> dict[RobustnessRow, float]:
    """Points of accuracy each row has over the first model's in the same condition."""
    first = rows[0].file
    base = {(row.noise, row.step): row.accuracy for row in rows if row.file == first}
    return {row: 100 * (row.accuracy - base[row.noise, row.step]) for row in rows}


def write(path: Path, rows: list[RobustnessRow]) -> None:
    """One line a row, atomically."""
    gained, cells = gains(rows), []
    for row in rows:
        strength = level(row.noise, row.step) if row.step else 0
        cells.append({**vars(row), "split": "PublicTest", "level": str(strength), "gain_points": gained[row]})
    write_cells(path, _FIELDS, cells, {"gain_points": 2})


def table(rows: list[RobustnessRow]) -> str:
    """Mean accuracy over the kinds at each step as Markdown, and each later model's gain over the first in points."""
    files = list(dict.fromkeys(row.file for row in rows))
    gained = gains(rows)
    lines = [f"| step | {' | '.join(files)} | gain |", "|---|" + "---|" * (len(files) + 1)]
    for step in range(STEPS + 1):
        own = {file: [row for row in rows if row.file == file and row.step == step] for file in files}
        means = [f"{np.mean([row.accuracy for row in own[file]]):.2%}" for file in files]
        points = [f"{np.mean([gained[row] for row in own[file]]):+.1f}" for file in files[1:]]
        lines.append(f"| {step or 'clean'} | {' | '.join(means)} | {', '.join(points) or '-'} |")
    return "\n".join(lines)


def plot(rows: list[RobustnessRow], path: Path) -> None:
    """A small picture a kind of noise, a line a model, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.6), layout="constrained", sharex=True, sharey=True)
    for panel, kind in zip(axes.flat, NOISES, strict=True):
        for file in dict.fromkeys(row.file for row in rows):
            own = sorted((row.step, row.accuracy) for row in rows if row.file == file and row.noise in ("clean", kind))
            panel.plot(*zip(*((step, 100 * accuracy) for step, accuracy in own), strict=True), marker="o", label=file)
        panel.set(title=kind, xlabel="step", ylabel="% accuracy on PublicTest")
        panel.label_outer()
    axes.flat[0].legend(frameon=False, fontsize=8)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
