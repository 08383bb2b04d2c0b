"""The report's pictures. Each takes rows, writes one PNG, and says whether there was anything to draw."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from fer_edge.bench import BenchRow
from fer_edge.files import atomic_write
from fer_edge.noise import LADDER

from boards.detectors.recall_plot import plot_recall
from boards.report.reading import Measured

# Paul Tol's bright scheme, which people with any colour vision can tell apart.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
_STAGES = ("detect", "track", "crop", "classify", "smooth", "sink")


def pareto(measured: Measured, path: Path) -> bool:
    """Latency against accuracy of classifiers and peers, with the front no other point beats in both."""
    points = [
        (row.p50_ms, 100 * row.accuracy, row.model, f"{row.board}, {row.cpu}")
        for row in measured.bench
        if row.stage == "classify" and row.accuracy is not None and row.source is None
    ]
    peers = [
        (r.p50_ms, 100 * r.accuracy, f"{r.name}: {r.model}", "peer") for r in measured.peers if r.name != "fer-edge"
    ]
    if not points:
        return False
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    boards = sorted({point[3] for point in points})
    first = next(row for row in measured.bench if row.accuracy is not None)
    for x, y, name, board in points + peers:
        marker = "^" if board == "peer" else "os"[name.endswith(".tflite")]
        colour = COLOURS[-1] if board == "peer" else COLOURS[boards.index(board) % 6]
        axes.plot(x, y, marker, color=colour, markersize=9, markerfacecolor=colour if "int8" in name else "white")
    _label(axes, points + peers)
    front = pareto_front([(x, y) for x, y, _, _ in points + peers])
    axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.25, y=0.12)
    axes.set(
        xlabel="ms a face, p50, one thread (log scale)",
        ylabel="accuracy, %",
        title=f"{first.dataset} {first.split}, on {', '.join(boards)}",
    )
    axes.grid(alpha=0.25, which="both")
    _legend_of_markers(axes)
    return _save(figure, path)


def _label(axes: plt.Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """A name for both engines' files of a model: over them for INT8, under them for float."""
    places: dict[str, list[tuple[float, float]]] = {}
    for x, y, name, _ in points:
        places.setdefault(name.replace(".tflite", "").replace(".onnx", "").partition(":")[0], []).append((x, y))
    for name, found in places.items():
        middle = (float(np.exp(np.mean([np.log(x) for x, _ in found]))), float(np.mean([y for _, y in found])))
        offset = (0, -16) if ".fp32" in name else (0, 9)
        axes.annotate(name, middle, textcoords="offset points", xytext=offset, ha="center", fontsize=8)


def _legend_of_markers(axes: plt.Axes) -> None:
    marks = (("s", "LiteRT"), ("o", "onnxruntime"), ("^", "other people's"))
    for marker, name in marks:
        axes.plot([], [], marker, color="grey", markerfacecolor="white", label=name)
    axes.plot([], [], "s", color="grey", label="INT8 (filled)")
    axes.plot([], [], "--", color="black", linewidth=0.8, label="Pareto front")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (latency, accuracy) that no other point beats in both, fastest first."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def stages(measured: Measured, path: Path) -> bool:
    """Where the time of the whole loop goes: a bar a model, detector and board."""
    loops: dict[str, dict[str, float]] = {}
    for row in measured.bench:
        if row.detector is not None and row.stage in _STAGES:
            name = f"{row.model}, {row.detector}\n{row.board}, {row.threads} thread"
            loops.setdefault(name, {})[row.stage] = row.mean_ms
    if not loops:
        return False
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.6 * len(loops)), layout="constrained")
    left = np.zeros(len(loops))
    for stage, colour in zip(_STAGES, COLOURS, strict=False):
        widths = np.array([loop.get(stage, 0.0) for loop in loops.values()])
        axes.barh(list(loops), widths, left=left, color=colour, label=stage, height=0.6)
        left += widths
    axes.set(xlabel="ms a frame, mean of each stage")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, ncols=6, loc="outside upper center")
    return _save(figure, path)


def sustained(measured: Measured, path: Path) -> bool:
    """Latency by minute, and the temperature where there was a thermometer."""
    runs: dict[str, list[Any]] = {}
    for row in measured.sustained:
        runs.setdefault(f"{row.board}, {row.model}, {row.threads} thread", []).append(row)
    if not runs:
        return False
    warm = any(row.temp_max_c is not None for row in measured.sustained)
    figure, panels = plt.subplots(
        1 + warm, 1, figsize=(8, 3 + 2.2 * warm), sharex=True, layout="constrained", squeeze=False
    )
    above, *below = panels[:, 0]
    for colour, (name, rows) in zip(COLOURS, runs.items(), strict=False):
        minutes = [row.minute for row in rows]
        above.plot(minutes, [row.p50_ms / rows[0].p50_ms for row in rows], "o-", color=colour, label=name)
        for axes in below:
            axes.plot(
                minutes, [row.temp_max_c if row.temp_max_c is not None else np.nan for row in rows], "o-", color=colour
            )
            axes.set(ylabel="hottest, °C")
    above.set(ylabel="p50 / p50 of minute 1")
    above.set_ylim(bottom=0)
    (below or [above])[-1].set(xlabel="minute")
    above.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def noise(measured: Measured, path: Path) -> bool:
    """Accuracy by step for each kind of noise: seven classes, and positive against negative."""
    if not measured.noise:
        return False
    models = sorted({row.model for row in measured.noise})
    figure, panels = plt.subplots(2, 3, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
    clean = [row for row in measured.noise if row.step == 0]
    for axes, (kind, ladder) in zip(panels.flat, LADDER.items(), strict=True):
        for colour, model in zip(COLOURS, models, strict=False):
            for task, style in (("expression7", "o-"), ("positive-negative", "s--")):
                rows = [r for r in measured.noise if (r.model, r.task, r.noise) == (model, task, kind)]
                first = [row for row in clean if (row.model, row.task) == (model, task)]
                line = sorted(first + rows, key=lambda row: row.step)
                label = f"{model}, {'7 classes' if task == 'expression7' else 'positive/negative'}"
                axes.plot(
                    [r.step for r in line],
                    [100 * r.accuracy for r in line],
                    style,
                    color=colour,
                    label=label,
                    markersize=4,
                )
        axes.set_title(f"{kind}: {ladder.levels[0]:g} to {ladder.levels[-1]:g}\n{ladder.unit}", fontsize=8)
        axes.grid(alpha=0.25)
    for axes in panels[:, 0]:
        axes.set(ylabel="accuracy, %")
    for axes in panels[1]:
        axes.set(xlabel="step (0: clean)")
    figure.legend(
        *panels.flat[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=2, loc="outside lower center"
    )
    return _save(figure, path)


def confusions(measured: Measured, path: Path) -> bool:
    """Confusion matrices, in per cent of the true class; of the INT8 TFLite files where there are any."""
    models = sorted({row.model for row in measured.confusions})
    models = [model for model in models if model.endswith(".int8.tflite")] or models
    if not models:
        return False
    figure, panels = plt.subplots(1, len(models), figsize=(4.4 * len(models), 4.6), layout="constrained", squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        _matrix(axes, model, [row for row in measured.confusions if row.model == model])
    return _save(figure, path)


def _matrix(axes: plt.Axes, model: str, rows: Sequence[Any]) -> None:
    names = list(dict.fromkeys(row.truth for row in rows))
    matrix = np.zeros((len(names), len(names)))
    for row in rows:
        matrix[names.index(row.truth), names.index(row.predicted)] = row.count
    total = matrix.sum(axis=1, keepdims=True)
    share = 100 * matrix / np.maximum(total, 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (i, j), value in np.ndenumerate(share):
        axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if value > 55 else "black")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), [f"{n} ({int(c[0])})" for n, c in zip(names, total, strict=True)], fontsize=8)
    axes.set_title(f"{model}\n{rows[0].dataset} {rows[0].split}, % of each row", fontsize=9)


def instructions(measured: Measured, path: Path) -> bool:
    """Instructions an inference on each emulated core, float beside INT8."""
    rows = [row for row in measured.instructions if ".fp32." in row.model or ".int8." in row.model]
    if not rows:
        return False
    groups = sorted({(row.model.split(".")[0], row.engine, row.cpu) for row in rows})
    figure, axes = plt.subplots(figsize=(8, 1 + 0.42 * len(groups)), layout="constrained")
    for place, (family, engine, cpu) in enumerate(groups):
        for shift, kind, colour in ((-0.19, ".fp32.", COLOURS[0]), (0.19, ".int8.", COLOURS[1])):
            for row in rows:
                if (row.model.split(".")[0], row.engine, row.cpu) == (family, engine, cpu) and kind in row.model:
                    axes.barh(place + shift, row.instructions / 1e6, 0.36, color=colour)
                    axes.barh(
                        place + shift, row.dot_products / 1e6, 0.36, color="none", edgecolor="black", hatch="////"
                    )
    axes.set_yticks(range(len(groups)), [f"{family}, {engine}\n{cpu}" for family, engine, cpu in groups], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="million instructions an inference, counted under emulation: work, not time")
    for colour, name in ((COLOURS[0], "float"), (COLOURS[1], "INT8")):
        axes.barh([0], [0], color=colour, label=name)
    axes.barh([0], [0], color="none", edgecolor="black", hatch="////", label="of them int8 dot products")
    axes.legend(frameon=False, fontsize=8)
    return _save(figure, path)


def detectors(measured: Measured, path: Path) -> bool:
    """Recall of face detectors by the size of the face."""
    if measured.detectors:
        plot_recall(measured.detectors, path)
    return bool(measured.detectors)


PLOTS: dict[str, Callable[[Measured, Path], bool]] = {
    "pareto": pareto,
    "stages": stages,
    "instructions": instructions,
    "detectors": detectors,
    "noise": noise,
    "confusions": confusions,
    "sustained": sustained,
}


def _save(figure: plt.Figure, path: Path) -> bool:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
    return True


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
