"""How many calibration faces are enough: agreement with float against their number, as CSV and plot.

And the same for several checkpoints by one recipe, a row an engine.
"""

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from tqdm import tqdm

from fer_edge.csv_tables import write_cells, write_csv
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write

from quantize import onnx_graph, onnx_ptq, search
from quantize.calibration import CalibrationOptions
from quantize.faces import FaceSets
from quantize.gate import Limits
from quantize.materials import gather
from quantize.measure import Runnable, score
from quantize.ranges import collect_ranges
from quantize.recipes import DEFAULT, DEFAULT_TARGET, TARGETS, Recipe, recipes_for
from quantize.report import Row
from quantize.sensitivity import Choice
from quantize.source import FloatModels, open_source

_FIELDS = ("model", "file", "engine", "float", "int8", "drop_points", "agreement", "n", "size_kb", "latency_ratio")
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


def compare_all(checkpoints: list[Path], faces: Path, artifacts: Path, count: int | None, out: Path) -> None:
    """Write the rows of every checkpoint to the CSV `out`. Raises what the stages raise."""
    write_cells(out, _FIELDS, [row for path in checkpoints for row in compare(path, faces, artifacts, count)])


def compare(checkpoint: Path, faces: Path, artifacts: Path, count: int | None = None) -> list[dict[str, str]]:
    """Rows of one checkpoint, an engine each; its files stay in `artifacts`/<name>. Raises what the stages raise.

    `count` is the number of calibration faces, None for the default.
    """
    opened, target = open_source(checkpoint, artifacts), TARGETS[DEFAULT_TARGET]
    recipes = recipes_for(target, DEFAULT)[0]
    calibration_options = CalibrationOptions(faces, opened.folder / "no-cache.json", count)
    materials = gather(opened, calibration_options, recipes, target, Limits(), checkpoint)
    # Whoever compares wants to see the worst as well, so what fails the gate is written too.
    rows = search.search(materials, search.Plan((recipes,), force=True)).rows
    written = [row for row in rows if row.file]
    references = {row.engine: row for row in written if row.precision == "fp32"}
    return [_row(opened.name, references[row.engine], row) for row in written if row.precision == "int8"]


def _row(model: str, reference: Row, quantized: Row) -> dict[str, str]:
    before, after = (one.accuracy if one.accuracy is not None else one.ccc for one in (reference, quantized))
    measured = before is not None and after is not None
    return {
        "model": model,
        "file": quantized.file,
        "engine": quantized.engine,
        "float": f"{before:.4f}" if measured else "",
        "int8": f"{after:.4f}" if measured else "",
        "drop_points": f"{100 * (before - after):.2f}" if measured else "",
        "agreement": f"{quantized.agreement:.4f}",
        "n": str(quantized.agreement_n),
        "size_kb": f"{quantized.size_kb:.1f}",
        "latency_ratio": f"{quantized.latency_ratio:.3f}",
    }
