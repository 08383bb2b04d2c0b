"""How many calibration faces are enough: agreement with float against their number, as CSV and plot."""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from tqdm import tqdm

from fer_edge.csv_tables import write_csv
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write

from quantize import onnx_graph, onnx_ptq
from quantize.faces import FaceSets
from quantize.measure import Runnable, score
from quantize.ranges import collect_ranges
from quantize.recipes import Recipe
from quantize.sensitivity import Choice
from quantize.source import FloatModels

COUNTS = (32, 64, 128, 256, 512, 1024, 2048)
METHODS = ("quantile", "minmax")


@dataclass(frozen=True)
class Point:
    """One INT8 ONNX: agreement with float, a fraction, on `n` faces of `dataset`."""

    model: str
    method: str
    count: int
    seed: int
    agreement: float
    dataset: str
    n: int


def measure(
    models: FloatModels, faces: FaceSets, recipe: Recipe, counts: tuple[int, ...], seeds: tuple[int, ...]
) -> list[Point]:
    """Calibrate on each count of faces and each seed, by both methods, and compare with float.

    Raises DataError where there are fewer training faces than the largest count, UsageError where the faces say nothing
    of the model's task.
    """
    judged, reference = faces.evaluation, next(iter(models.classifiers.values()))
    if judged is None:
        raise UsageError(f"no faces to judge {reference.contract.task} on: their truth is not known.")
    float_predictions = Runnable.of(reference).predict(judged.images)
    choice = Choice(onnx_ptq.optional_operators(models.graph))
    points = []
    for count, seed in tqdm([(c, s) for c in counts for s in seeds], desc="calibration curve", leave=False):
        drawn = faces.training.balanced(count, seed)
        tensors = onnx_ptq.observed_tensors(models.graph)
        batches = onnx_graph.activations(models.graph, models.graph.body, tensors, drawn.images)
        for method, ranges in collect_ranges(batches, METHODS).items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                made = onnx_ptq.quantized(models.graph, ranges, dataclasses.replace(recipe, ranges=method), choice)
                onnx.save(made, path)
                predictions = Runnable.opened(path, reference.contract).predict(judged.images)
                kind = reference.contract.task_spec.kind
                same = score(predictions, float_predictions, None, kind).agreement
            name = f"{judged.dataset} {judged.split}"
            points.append(Point(models.name, method, count, seed, round(same, 4), name, len(judged)))
    return points


def write(points: list[Point], path: Path) -> None:
    """Write the points as CSV, and beside it a plot of the same name: the mean over seeds, the span shaded."""
    write_csv(path, Point, points)
    _draw(points, path.with_suffix(".png"))


def _draw(points: list[Point], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    counts = sorted({point.count for point in points})
    for method in METHODS:
        rows = [[p.agreement * 100 for p in points if (p.method, p.count) == (method, count)] for count in counts]
        axes.plot(counts, [np.mean(row) for row in rows], marker="o", label=method)
        axes.fill_between(counts, [min(row) for row in rows], [max(row) for row in rows], alpha=0.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("calibration faces")
    axes.set_ylabel("same class as float, %")
    axes.set_title(f"{points[0].model}, INT8 ONNX, {points[0].n} faces of {points[0].dataset}")
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
