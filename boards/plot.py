"""Latency against accuracy, the picture the benchmark exists for."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from fer_edge.bench import BenchRow
from fer_edge.files import atomic_write

_COLOURS = {"fp32": "#4477aa", "int8": "#ee6677", "fp16": "#228833"}
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
    axes.set_xlim(left=0, right=1.25 * max(row.p95_ms for row in points))
    axes.margins(y=0.35)
    axes.grid(alpha=0.25)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)
    return True


def _plot_point(axes: plt.Axes, row: BenchRow) -> None:
    accuracy = 100 * (row.accuracy or 0.0)
    colour = _COLOURS.get(row.precision, "black")
    axes.plot([row.p50_ms, row.p95_ms], [accuracy, accuracy], color=colour, linewidth=1, alpha=0.5)
    axes.plot(row.p50_ms, accuracy, _MARKERS.get(Path(row.model).suffix, "d"), color=colour, markersize=9)
    axes.annotate(
        f"{row.model}\n{row.p50_ms:.2f} ms, {accuracy:.1f} %, {row.model_kb:.0f} KB",
        (row.p50_ms, accuracy),
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=8,
        ha="center",
    )
