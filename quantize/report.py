"""The table of candidates: quantize.csv for programs, plain text for people."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import DataError
from fer_edge.files import atomic_write

CSV_NAME = "quantize.csv"
_DIGITS = {"size_kb": 1, "size_ratio": 4, "agreement": 4, "accuracy": 4, "macro_f1": 4, "ccc": 4, "p50_ms": 4}
_DIGITS |= {"latency_ratio": 3, "instruction_ratio": 3}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row. Fractions in [0, 1]; the ratios are to the float model of the same engine.

    `file` is empty for a candidate that was not written; a row of zeros is one that could not be made. `accuracy` and
    `macro_f1` (classes), `ccc` (values, mean over them) and the instructions are None where they were not measured.
    `int8_convs` counts QLinearConv in the graph onnxruntime runs, and for TFLite the convolutions with int8 input,
    weights and output; `float_ops` says what else computes in float.
    """

    file: str = ""
    engine: str
    precision: str
    recipe: str
    target: str
    size_kb: float = 0.0
    size_ratio: float = 0.0
    agreement: float = 0.0
    agreement_on: str = ""
    agreement_n: int = 0
    accuracy: float | None = None
    macro_f1: float | None = None
    ccc: float | None = None
    convs: int = 0
    int8_convs: int = 0
    float_ops: str = ""
    p50_ms: float = 0.0
    latency_ratio: float = 0.0
    instructions: int | None = None
    instruction_ratio: float | None = None
    verdict: str = ""
    model_sha256: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Candidate))


def write_csv(path: Path, candidates: list[Candidate]) -> None:
    """Write one row a candidate, atomically; a figure that was not measured is left empty."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for candidate in candidates:
            writer.writerow({name: _cell(name, value) for name, value in vars(candidate).items()})


def _cell(name: str, value: object) -> object:
    return round(value, _DIGITS[name]) if isinstance(value, float) else value


def table(candidates: list[Candidate]) -> str:
    """The candidates as aligned plain text, one line each; a star marks the models that were written."""
    names = ("engine", "recipe", "kB", "size", "agrees", "accuracy", "macro-F1", "CCC", "int8 convs", "p50 ms", "time")
    rows = [(*names, "work", "verdict"), *(_texts(candidate) for candidate in candidates)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(texts: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, figures to the right; the verdict comes last and needs no filling."""
    names = (text.ljust(width) for text, width in zip(texts[:2], widths[:2], strict=True))
    figures = (text.rjust(width) for text, width in zip(texts[2:-1], widths[2:], strict=True))
    return "  ".join((*names, *figures, texts[-1]))


def _texts(candidate: Candidate) -> tuple[str, ...]:
    return (
        candidate.engine,
        candidate.recipe + ("*" if candidate.file and candidate.precision != "fp32" else ""),
        f"{candidate.size_kb:.0f}",
        f"{candidate.size_ratio:.3f}",
        f"{candidate.agreement:.2%}",
        _percent(candidate.accuracy),
        _percent(candidate.macro_f1),
        "-" if candidate.ccc is None else f"{candidate.ccc:.3f}",
        f"{candidate.int8_convs}/{candidate.convs}",
        f"{candidate.p50_ms:.3f}",
        f"{candidate.latency_ratio:.2f}",
        "-" if candidate.instruction_ratio is None else f"{candidate.instruction_ratio:.2f}",
        candidate.verdict,
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"


def verdicts(path: Path) -> dict[str, str]:
    """The gate's word on each file of a quantize.csv, by the file's SHA-256; empty where there is no table."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as stream:
        return {row["model_sha256"]: row["verdict"] for row in csv.DictReader(stream)}


def markdown(path: Path) -> str:
    """The candidates of a quantize.csv as a Markdown table, for docs. Raises DataError where it is none."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            lines = [_markdown_line(row) for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a quantize.csv ({error}). Make it with `make quantize`.") from None
    heads = ("recipe", "KB", "accuracy", "macro-F1", "same class as float", "time to float's", "gate")
    return "\n".join((f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines))


def _markdown_line(row: dict[str, str]) -> str:
    percents = [f"{float(row[name]):.2%}" if row[name] else "" for name in ("accuracy", "macro_f1", "agreement")]
    name = f"float, {row['engine']}" if row["recipe"] == "float" else f"`{row['recipe']}`"
    gate = f"**{row['verdict']}**" if row["file"] and row["precision"] != "fp32" else row["verdict"]
    cells = (name, f"{float(row['size_kb']):.0f}", *percents, f"{float(row['latency_ratio']):.2f}", gate)
    return f"| {' | '.join(cells)} |"
