"""Cost of INT8 for several networks, side by side, passed by the gate or not: one row a network and engine."""

from pathlib import Path

from fer_edge.csv_tables import write_cells

from quantize import search
from quantize.calibration import CalibrationOptions
from quantize.gate import Limits
from quantize.materials import gather
from quantize.recipes import DEFAULT, DEFAULT_TARGET, TARGETS, recipes_for
from quantize.report import Row
from quantize.source import open_source

_FIELDS = ("model", "file", "engine", "float", "int8", "drop_points", "agreement", "n", "size_kb", "latency_ratio")


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
