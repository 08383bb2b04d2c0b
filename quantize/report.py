"""The table of candidates: quantize.csv for programs, plain text for people."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from fer_edge.files import atomic_write

CSV_NAME = "quantize.csv"
_DIGITS = {
    "size_kb": 1,
    "size_ratio": 4,
    "agreement": 4,
    "accuracy": 4,
    "macro_f1": 4,
    "ccc": 4,
    "p50_ms": 4,
    "latency_ratio": 3,
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row. Fractions in [0, 1]; the ratios are to the float model of the same engine.

    `accuracy` and `macro_f1` (classes) and `ccc` (values, mean over them) are None where they were not measured.
    `int8_convs` counts QLinearConv in the graph onnxruntime runs, and for TFLite the convolutions with int8 input,
    weights and output.
    """

    file: str
    engine: str
    precision: str
    recipe: str
    size_kb: float
    size_ratio: float
    agreement: float
    agreement_on: str
    agreement_n: int
    accuracy: float | None
    macro_f1: float | None
    ccc: float | None = None
    convs: int
    int8_convs: int
    p50_ms: float
    latency_ratio: float
    verdict: str


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
    """The candidates as aligned plain text, one line each."""
    heads = ("file", "kB", "size", "agrees", "accuracy", "macro-F1", "CCC", "int8 convs", "p50 ms", "time", "verdict")
    rows = [heads, *(_texts(candidate) for candidate in candidates)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(texts: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, figures to the right; the verdict comes last and needs no filling."""
    first, *figures, last = texts
    middle = (text.rjust(width) for text, width in zip(figures, widths[1:-1], strict=True))
    return "  ".join((first.ljust(widths[0]), *middle, last))


def _texts(candidate: Candidate) -> tuple[str, ...]:
    return (
        candidate.file,
        f"{candidate.size_kb:.0f}",
        f"{candidate.size_ratio:.3f}",
        f"{candidate.agreement:.2%}",
        _percent(candidate.accuracy),
        _percent(candidate.macro_f1),
        "-" if candidate.ccc is None else f"{candidate.ccc:.3f}",
        f"{candidate.int8_convs}/{candidate.convs}",
        f"{candidate.p50_ms:.3f}",
        f"{candidate.latency_ratio:.2f}",
        candidate.verdict,
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"
