"""The README's tables, made from committed CSV files so that no figure in them is typed by hand."""

from dataclasses import dataclass
from pathlib import Path

from fer_edge.bench import BenchRow, read_rows
from fer_edge.csv_tables import csv_cells
from fer_edge.errors import DataError

from boards.instructions import INSTRUCTIONS, InstructionRow, read_instructions
from boards.report.reading import read_measured


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
    for name in ("mean", "p50", "p95"):
        lines.append(f"| {name} | " + " | ".join(f"{getattr(row, f'{name}_ms'):.2f}" for row in rows) + " |")
    return "\n".join(lines)


def peers_table(root: Path) -> str:
    """Markdown: ours and other people's classifiers of one run, from peers.csv."""
    lines = ["| | accuracy | macro-F1 | p50, ms a face | to ours | KB |", "|---|---|---|---|---|---|"]
    for row in read_measured([root / "peers.csv"]).peers:
        name = f"`{row.model}`" if row.name == "fer-edge" else row.name
        lines.append(
            f"| {name} | {row.accuracy:.2%} | {row.macro_f1:.2%} | {row.p50_ms:.2f} | {row.p50_ratio:.2f} "
            f"| {row.size_kb:.0f} |"
        )
    return "\n".join(lines)


def instructions_table(path: Path = INSTRUCTIONS) -> str:
    """Markdown: million instructions an inference, float and INT8, on each emulated core, from instructions.csv."""
    rows = {(row.model, row.cpu): row for row in read_instructions(path)}
    cores = sorted({cpu for _, cpu in rows})
    head = [f"{core.removeprefix('cortex-').upper()} {kind}" for core in cores for kind in ("float", "INT8", "factor")]
    lines = ["| | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    measured = {model for model, _ in rows}
    for model in sorted(name for name in measured if ".fp32." in name and name.replace(".fp32.", ".int8.") in measured):
        cells = []
        for core in cores:
            counts = [rows[name, core].instructions for name in (model, model.replace(".fp32.", ".int8."))]
            cells += [f"{counts[0] / 1e6:.2f}", f"{counts[1] / 1e6:.2f}", f"{counts[0] / counts[1]:.2f}"]
        engine = rows[model, cores[0]].engine
        lines.append(f"| `{model.partition('.')[0]}`, {engine} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Quantized:
    """A file of a quantize.csv beside its float reference; `int8` is None where the gate let nothing through."""

    engine: str
    reference: dict[str, str]
    int8: dict[str, str] | None
    refused: str


def systems_table(root: Path) -> str:
    """Markdown: every <root>/<model>/quantize.csv, a row for each engine, with what INT8 costs on this machine and Arm.

    Million multiplications of a face are from <root>/cost.csv, million instructions from <root>/instructions.csv by the
    SHA-256 of the file; both are empty where nothing was counted.
    """
    counts = {(row.model_sha256, row.cpu): row.instructions for row in _counted(root)}
    mmac = _mmac(root / "cost.csv")
    lines = [
        "| model, engine | MMAC | n | float | INT8 | same as float | KB | ms a face | ratio "
        "| M instructions, A72 | A76 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(root.glob("*/quantize.csv")):
        model = path.parent.name
        for pair in _pairs(path):
            lines.append(_system_line(model, mmac.get(model, ""), pair, counts))
    return "\n".join(lines)


def _counted(folder: Path) -> list[InstructionRow]:
    """The rows of <folder>/instructions.csv; none where nothing was counted."""
    path = folder / "instructions.csv"
    return read_instructions(path) if path.is_file() else []


def _millions(counts: dict[tuple[str, str], int], files: list[str]) -> list[str]:
    """For the A72 and the A76 the counts of float and INT8, of those files that were counted."""
    cells = []
    for cpu in ("cortex-a72", "cortex-a76"):
        found = [counts.get((file, cpu)) for file in files]
        cells.append(" to ".join(f"{count / 1e6:.2f}" for count in found if count is not None))
    return cells


def _mmac(path: Path) -> dict[str, str]:
    return {row["model"]: row["mmac"] for row in _rows_of(path)} if path.is_file() else {}


def _system_line(model: str, mmac: str, pair: _Quantized, counts: dict[tuple[str, str], int]) -> str:
    before, after = pair.reference, pair.int8
    cells = [f"`{model}`, {pair.engine}", mmac, before["agreement_n"], _figure(before)]
    if after is None:
        cells += [f"refused: {pair.refused}", ""]
    else:
        cells += [_figure(after), f"{float(after['agreement']):.2%}" if after["accuracy"] else after["agreement"]]
    files = [before] if after is None else [before, after]
    cells += [" to ".join(f"{float(row['size_kb']):.0f}" for row in files)]
    cells += [" to ".join(f"{float(row['p50_ms']):.2f}" for row in files), after["latency_ratio"] if after else ""]
    cells += _millions(counts, [row["model_sha256"] for row in files])
    return "| " + " | ".join(cells) + " |"


def _figure(row: dict[str, str]) -> str:
    """Figures that judge a model: accuracy and macro-F1, or for a task of values its CCC; neither without faces."""
    if row["ccc"]:
        return f"CCC {float(row['ccc']):.3f}"
    if not row["accuracy"]:
        return "not measured"
    return f"{float(row['accuracy']):.2%}, F1 {float(row['macro_f1']):.2%}"


def _pairs(path: Path) -> list[_Quantized]:
    rows = _rows_of(path)
    # Targets lie side by side in one table; time on this machine is of the one for it.
    targets = [row.get("target", "") for row in rows]
    rows = [row for row in rows if row.get("target", "") == ("x86" if "x86" in targets else targets[0])]
    pairs = []
    for reference in (row for row in rows if row["precision"] == "fp32"):
        tried = [row for row in rows if row["precision"] == "int8" and row["engine"] == reference["engine"]]
        written = [row for row in tried if row["file"]]
        refused = tried[0]["verdict"].removeprefix("fail: ") if tried else "not tried"
        pairs.append(_Quantized(reference["engine"], reference, written[0] if written else None, refused))
    return pairs


def _agreements(root: Path) -> dict[str, float]:
    agreements = {}
    for path in root.glob("*/quantize.csv"):
        agreements.update({row["file"]: float(row["agreement"]) for row in _rows_of(path)})
    return agreements


def variants_table(folder: Path) -> str:
    """Markdown: an ablation in full, what `train ablate`, `quantize.curve` and `boards instructions` measured of it.

    Accuracy is the mean over seeds with the lowest and highest; INT8 and instructions are of the first seed's network.
    Instructions are empty where none were counted. Raises DataError where the other two files lack a variant.
    """
    variants, int8 = _table_of(folder / "ablation.csv"), _table_of(folder / "int8.csv")
    counts = {(row.model, row.cpu): row.instructions for row in _counted(folder)}
    target = float(variants[0]["target_accuracy"])
    lines = [
        f"| | parameters | MMAC | accuracy | lowest, highest | epochs to {target:.0%} | engine | INT8 loses, points "
        "| same as float | time ratio | M instructions, A72 | A76 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for variant in variants:
        own = [row for row in int8 if row["model"] == variant["model"]]
        if not own:
            raise DataError(f"{folder}/int8.csv: nothing of {variant['model']}. Run `make ablation` again.")
        spread = ", ".join(f"{float(variant[key]):.2%}" for key in ("accuracy_lowest", "accuracy_highest"))
        head = [variant["row"], f"{int(variant['parameters']):,}", variant["mmac"]]
        head += [f"{float(variant['accuracy']):.2%}", spread, variant["epochs_to_target"]]
        for row in own:
            cells = [*head, row["engine"], row["drop_points"], f"{float(row['agreement']):.2%}", row["latency_ratio"]]
            cells += _millions(counts, [row["file"].replace(".int8.", kind) for kind in (".fp32.", ".int8.")])
            lines.append("| " + " | ".join(cells) + " |")
            head = [""] * len(head)
    return "\n".join(lines)


def _table_of(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make ablation PLAN=...`.")
    return _rows_of(path)


def _rows_of(path: Path) -> list[dict[str, str]]:
    return [cells for _, cells in csv_cells(path)]
