"""The README's tables and plot, made from committed CSV files so that no figure in them is typed by hand."""

import csv
from pathlib import Path

from fer_edge.bench import BenchRow, read_rows
from fer_edge.errors import DataError

from boards.plot import plot_latency_accuracy

MEASURED = Path("docs/measured")


def measured_rows(root: Path) -> list[BenchRow]:
    """The rows of every <root>/<model>/bench.csv, smallest model first. Raises DataError when there is none."""
    files = [read_rows(path) for path in sorted(root.glob("*/bench.csv"))]
    if not files:
        raise DataError(f"{root}: no */bench.csv. Make it with `make release-model`, FER2013 at hand.")
    files.sort(key=lambda rows: min(row.model_kb for row in rows))
    return [row for rows in files for row in rows]


def accuracy_table(root: Path) -> str:
    """Markdown: one row a model file, with its agreement from the quantize.csv beside its bench.csv."""
    agreement = _agreements(root)
    lines = [
        "| file | KB | accuracy | macro-F1 | same class as float | p50, ms a face |",
        "|---|---|---|---|---|---|",
    ]
    for row in measured_rows(root):
        if row.detector or row.accuracy is None or row.macro_f1 is None:
            continue
        same = "" if row.precision == "fp32" else f"{agreement[row.model]:.2%}"
        lines.append(
            f"| `{row.model}` | {row.model_kb:.0f} | {row.accuracy:.2%} | {row.macro_f1:.2%} | {same} "
            f"| {row.p50_ms:.2f} |"
        )
    return "\n".join(lines)


def loop_table(root: Path, model: str) -> str:
    """Markdown: the stages of the whole loop with the file `model`. Raises DataError when it was not measured."""
    rows = [row for row in measured_rows(root) if row.detector and row.model == model]
    if not rows:
        raise DataError(f"{root}: no row of the whole loop with {model}. Make it with `make release-model`.")
    lines = ["| | " + " | ".join(row.stage for row in rows) + " |", "|---|" + "---|" * len(rows)]
    lines.append("| p50 | " + " | ".join(f"{row.p50_ms:.2f}" for row in rows) + " |")
    lines.append("| p95 | " + " | ".join(f"{row.p95_ms:.2f}" for row in rows) + " |")
    return "\n".join(lines)


def draw(root: Path) -> Path:
    """Plot latency against accuracy of every model under `root`; the path of the PNG."""
    path = root / "bench.png"
    plot_latency_accuracy(measured_rows(root), path)
    return path


def _agreements(root: Path) -> dict[str, float]:
    agreements = {}
    for path in root.glob("*/quantize.csv"):
        with open(path, newline="") as stream:
            agreements.update({row["file"]: float(row["agreement"]) for row in csv.DictReader(stream)})
    return agreements
