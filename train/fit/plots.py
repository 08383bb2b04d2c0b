"""The pictures of a training run: curves and confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from fer_edge.files import atomic_write
from fer_edge.metrics import confusion_matrix

from train.fit.run_state import EpochLog


def plot_curves(logs: list[EpochLog], path: Path, title: str, validated_on: str = "PublicTest") -> None:
    """Loss and the first two figures on the validation faces over the epochs, as a PNG."""
    epochs = [log.epoch for log in logs]
    figure, (losses, figures) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    losses.plot(epochs, [log.train_loss for log in logs], label="Training (soft labels, augmented)")
    losses.plot(epochs, [log.val_loss for log in logs], label=f"{validated_on} (averaged weights)")
    losses.set(xlabel="epoch", ylabel="loss", title=title)
    losses.legend(frameon=False)
    names = list(logs[0].figures)[:2]
    percent = names[0] == "accuracy"
    factor, unit = (100, "% ") if percent else (1, "")
    for name in names:
        figures.plot(epochs, [factor * log.figures[name] for log in logs], label=name.replace("_", "-"))
    last = logs[-1].score
    figures.axhline(factor * last, color="grey", linewidth=0.8, linestyle=":")
    said = f"{last:.2%}" if percent else f"{last:.3f}"
    figures.set(xlabel="epoch", ylabel=f"{unit}on {validated_on}, single crop", title=f"after the last epoch {said}")
    figures.legend(frameon=False, loc="lower right")
    _save(figure, path)


def plot_confusion(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], path: Path, title: str) -> None:
    """Confusion matrix in per cent of each true class, as a PNG; classes (n,) are indices into `labels`."""
    counts = confusion_matrix(truth, predicted, len(labels))
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(shares.shape):
        shade = "white" if shares[row, column] > 55 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), [f"{name} ({n})" for name, n in zip(labels, counts.sum(1), strict=True)])
    axes.set(xlabel="predicted", ylabel="true (faces)", title=title)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
