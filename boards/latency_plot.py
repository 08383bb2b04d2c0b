"""Latency against accuracy, the picture the benchmark exists for."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fer_edge.bench import BenchRow
from fer_edge.files import atomic_write

_COLOURS = {"fp32": "#4477aa", "int8": "#ee6677", "fp16": "#228833"}
_MIN_SPAN_POINTS = 6.0
_MARKERS = {".onnx": "o", ".tflite": "s"}


def plot_latency_accuracy(rows: list[BenchRow], path: Path) -> bool:
    """Write a PNG of every classifier row that has an accuracy; False, and no file, when none has."""
    points = [row for row in rows if row.stage == "classify" and row.accuracy is not None]
    if not points:
        return False
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for row in points:
        _plot_point(axes, row)
    first = points[0]
    axes.set(
        xlabel=f"classifier latency, p50 and p95, ms a face ({first.threads} thread, {first.arch})",
        ylabel=f"accuracy on {first.dataset} {first.split}, %",
        title="latency against accuracy",
    )
    axes.set_xlim(left=0, right=1.1 * max(row.p95_ms for row in points))
    _keep_proportion(axes, [100 * (row.accuracy or 0.0) for row in points])
    axes.legend(frameon=False, fontsize=8, loc="best")
    axes.grid(alpha=0.25)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
    return True


def _keep_proportion(axes: plt.Axes, accuracies: list[float]) -> None:
    """At least six points from bottom to top: a tenth of a point must not look like a mountain."""
    middle = (min(accuracies) + max(accuracies)) / 2
    half = max(_MIN_SPAN_POINTS, 1.4 * (max(accuracies) - min(accuracies))) / 2
    axes.set_ylim(middle - half, middle + half)


def _plot_point(axes: plt.Axes, row: BenchRow) -> None:
    accuracy = 100 * (row.accuracy or 0.0)
    colour = _COLOURS.get(row.precision, "black")
    text = f"{row.model}: {row.p50_ms:.2f} ms, {accuracy:.1f} %, {row.model_kb:.0f} KB"
    axes.plot([row.p50_ms, row.p95_ms], [accuracy, accuracy], color=colour, linewidth=1, alpha=0.6)
    marker = _MARKERS.get(Path(row.model).suffix, "d")
    axes.plot(row.p50_ms, accuracy, marker, color=colour, markersize=10, alpha=0.75, linestyle="none", label=text)
