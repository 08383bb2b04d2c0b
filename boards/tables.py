"""The README's tables, written from committed CSV files so that no figure in them is typed by hand."""

import csv
from pathlib import Path

from fer_edge.errors import DataError

MEASURED = Path("docs/measured")


def accuracy_table(folder: Path) -> str:
    """Markdown: one row a model file, from bench.csv and quantize.csv in `folder`."""
    agreement = {row["file"]: row["agreement"] for row in _rows(folder / "quantize.csv")}
    lines = [
        "| file | KB | accuracy | macro-F1 | same class as float | p50, ms a face |",
        "|---|---|---|---|---|---|",
    ]
    for row in _rows(folder / "bench.csv"):
        if row["detector"] or row["stage"] != "classify":
            continue
        if not row["accuracy"]:
            raise DataError(f"{folder / 'bench.csv'}: {row['model']} has no accuracy. Make it with FER2013 at hand.")
        same = "" if row["precision"] == "fp32" else f"{float(agreement[row['model']]):.2%}"
        lines.append(
            f"| `{row['model']}` | {float(row['model_kb']):.0f} | {float(row['accuracy']):.2%} "
            f"| {float(row['macro_f1']):.2%} | {same} | {float(row['p50_ms']):.2f} |"
        )
    return "\n".join(lines)


def loop_table(folder: Path) -> str:
    """Markdown: the stages of the whole loop with the .tflite model, from bench.csv in `folder`."""
    rows = [row for row in _rows(folder / "bench.csv") if row["detector"] and row["model"].endswith(".tflite")]
    if not rows:
        raise DataError(f"{folder / 'bench.csv'}: no row of the whole loop. Make it with `make release-model`.")
    lines = ["| | " + " | ".join(row["stage"] for row in rows) + " |", "|---|" + "---|" * len(rows)]
    for figure in ("p50_ms", "p95_ms"):
        cells = " | ".join(f"{float(row[figure]):.2f}" for row in rows)
        lines.append(f"| {figure.removesuffix('_ms')} | {cells} |")
    return "\n".join(lines)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make release-model`, FER2013 at hand.")
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))
