"""The pictures of a training run: curves and confusion matrix."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from fer_edge.files import atomic_write
from fer_edge.metrics import confusion_matrix

from train.fer2013 import EXPRESSIONS
from train.loop import EpochLog


def plot_curves(logs: list[EpochLog], path: Path, title: str) -> None:
    """Loss of both splits and PublicTest accuracy over the epochs, as a PNG."""
    epochs = [log.epoch for log in logs]
    figure, (losses, accuracy) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    losses.plot(epochs, [log.train_loss for log in logs], label="Training (soft labels, augmented)")
    losses.plot(epochs, [log.val_loss for log in logs], label="PublicTest (averaged weights)")
    losses.set(xlabel="epoch", ylabel="cross-entropy", title=title)
    losses.legend(frameon=False)
    accuracy.plot(epochs, [100 * log.val_accuracy for log in logs], label="accuracy")
    accuracy.plot(epochs, [100 * log.val_macro_f1 for log in logs], label="macro-F1")
    best = max(logs, key=lambda log: log.val_accuracy)
    accuracy.axhline(100 * best.val_accuracy, color="grey", linewidth=0.8, linestyle=":")
    accuracy.set(xlabel="epoch", ylabel="% on PublicTest, single crop", title=f"best {best.val_accuracy:.2%}")
    accuracy.legend(frameon=False, loc="lower right")
    _save(figure, path)


def plot_confusion(truth: np.ndarray, predicted: np.ndarray, path: Path, title: str) -> None:
    """Confusion matrix in per cent of each true class, as a PNG."""
    counts = confusion_matrix(truth, predicted, len(EXPRESSIONS))
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(5.4, 4.8), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(shares.shape):
        shade = "white" if shares[row, column] > 55 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=shade, fontsize=9)
    axes.set_xticks(range(len(EXPRESSIONS)), EXPRESSIONS, rotation=40, ha="right")
    axes.set_yticks(
        range(len(EXPRESSIONS)), [f"{name} ({n})" for name, n in zip(EXPRESSIONS, counts.sum(1), strict=True)]
    )
    axes.set(xlabel="predicted", ylabel="true (faces)", title=title)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
