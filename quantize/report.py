"""Report of a search: quantize.csv for programs, plain text and Markdown for people."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.csv_tables import columns_of, csv_cells, write_cells
from fer_edge.errors import DataError

from quantize.gate import Miss, Verdict
from quantize.materials import Materials
from quantize.measure import Measurements
from quantize.recipes import Recipe

CSV_NAME = "quantize.csv"
_DIGITS = {"size_kb": 1, "size_ratio": 4, "agreement": 4, "accuracy": 4, "macro_f1": 4, "ccc": 4, "p50_ms": 4}
_DIGITS |= {"latency_ratio": 3, "instruction_ratio": 3}
_PASSED, _FAILED, _TOO_FEW, _REFERENCE = "pass", "fail: ", "too few faces: ", "reference"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of quantize.csv. Fractions in [0, 1]; the ratios are to the float model of the same engine.

    `file` is empty for a trial that was not written; a row of zeros is one that could not be made. `accuracy` and
    `macro_f1` (classes), `ccc` (values, mean over them) and the instructions are None where they were not measured.
    `int8_convs` counts QLinearConv in the graph onnxruntime runs, and for TFLite the convolutions with int8 input,
    weights and output; `float_ops` says what else computes in float. `deploy` is "yes" for the file of this kind and
    target to put on a board.
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
    deploy: str = ""


COLUMNS = columns_of(Row)


def float_row(suffix: str, measured: Measurements, materials: Materials) -> Row:
    """The row of a float model, to whose figures the others' ratios are."""
    model = materials.models.classifiers[suffix]
    row = _figures("float", suffix, measured, measured, materials)
    digest = materials.models.file_digests[suffix]
    return dataclasses.replace(row, file=model.path.name, float_ops="", verdict=verdict_text(None), model_sha256=digest)


def trial_row(
    recipe: Recipe, measured: Measurements, reference: Measurements, verdict: Verdict, materials: Materials
) -> Row:
    """The row of a trial, which has no file yet: its digest is that of the graph."""
    row = _figures(recipe.name, recipe.suffix, measured, reference, materials)
    return dataclasses.replace(row, verdict=verdict_text(verdict), model_sha256=measured.graph_sha256)


def failed_row(recipe: Recipe, reason: str, materials: Materials) -> Row:
    """The row of a recipe that could not be carried out."""
    return Row(
        engine=materials.models.classifiers[recipe.suffix].engine.name,
        precision=recipe.precision,
        recipe=recipe.name,
        target=materials.target.name,
        verdict=f"{_FAILED}could not be made: {reason}",
    )


def _figures(recipe: str, suffix: str, measured: Measurements, reference: Measurements, materials: Materials) -> Row:
    scored, own, other = measured.score, measured.instructions, reference.instructions
    return Row(
        engine=materials.models.classifiers[suffix].engine.name,
        precision=measured.precision,
        recipe=recipe,
        target=materials.target.name,
        size_kb=measured.size_bytes / 1024,
        size_ratio=measured.size_bytes / reference.size_bytes,
        agreement=scored.agreement,
        agreement_on=scored.dataset,
        agreement_n=scored.n,
        accuracy=scored.accuracy,
        macro_f1=scored.macro_f1,
        ccc=scored.ccc,
        convs=measured.convs.convs,
        int8_convs=measured.convs.int8_convs,
        float_ops=" ".join(f"{kind}:{count}" for kind, count in measured.convs.float_ops),
        p50_ms=measured.p50_ms,
        latency_ratio=measured.time_to(reference).measured,
        instructions=own,
        instruction_ratio=own / other if own and other else None,
    )


def read_cells(path: Path) -> list[dict[str, str]]:
    """The rows of a quantize.csv as text; empty where there is none or it has other columns."""
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            return list(reader) if tuple(reader.fieldnames or ()) == COLUMNS else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def write_csv(path: Path, rows: Sequence[Row], kept: Sequence[dict[str, str]] = ()) -> None:
    """Write the rows, then those `kept` of earlier searches, atomically; what was not measured is left empty."""
    written = ({name: _cell(name, value) for name, value in vars(row).items()} for row in rows)
    write_cells(path, COLUMNS, [*written, *kept])


def _cell(name: str, value: object) -> object:
    return str(round(value, _DIGITS[name])) if isinstance(value, float) else value


def verdict_text(verdict: Verdict | None) -> str:
    """`pass`, `fail: ` or `too few faces: ` with every limit concerned; `reference` for a float model."""
    if verdict is None:
        return _REFERENCE
    if verdict.passed:
        return "; ".join((_PASSED, *verdict.unmeasured))
    return (_FAILED if verdict.failed else _TOO_FEW) + misses_text(verdict)


def misses_text(verdict: Verdict) -> str:
    """Every limit that is missed, or if none is, those that are open and how many faces would tell."""
    decided = [miss for miss in verdict.misses if miss.decided]
    if decided:
        return "; ".join(_miss_text(miss) for miss in decided)
    needed = "more than a million" if verdict.faces is None else f"about {verdict.faces:,}"
    return f"{'; '.join(_open_text(miss) for miss in verdict.misses)}; {needed} faces would tell"


def _miss_text(miss: Miss) -> str:
    interval = "" if miss.interval is None else f" ({_span(miss)})"
    side = "below" if miss.at_least else "above"
    measured = f"{_number(miss.measured, miss.unit)}{_unit(miss.unit)}"
    return f"{miss.name} {measured}{interval} {side} {_number(miss.limit, miss.unit)}"


def _open_text(miss: Miss) -> str:
    return f"{miss.name} {_number(miss.measured, miss.unit)}{_unit(miss.unit)} ({_span(miss)})"


def _span(miss: Miss) -> str:
    assert miss.interval is not None, "only an estimate can be undecided"
    return f"{_number(miss.interval.low, miss.unit)} to {_number(miss.interval.high, miss.unit)}"


def _number(value: float, unit: str) -> str:
    return f"{value:.2%}" if unit == "fraction" else f"{value:.2f}"


def _unit(unit: str) -> str:
    return " points" if unit == "points" else ""


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned plain text, one line each; a star marks the models that were written."""
    names = ("engine", "recipe", "kB", "size", "agrees", "accuracy", "macro-F1", "CCC", "int8 convs", "p50 ms", "time")
    lines = [(*names, "work", "verdict"), *(_texts(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(_line(line, widths) for line in lines)


def _line(texts: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, figures to the right; the verdict comes last and needs no filling."""
    names = (text.ljust(width) for text, width in zip(texts[:2], widths[:2], strict=True))
    figures = (text.rjust(width) for text, width in zip(texts[2:-1], widths[2:], strict=True))
    return "  ".join((*names, *figures, texts[-1]))


def _texts(row: Row) -> tuple[str, ...]:
    return (
        row.engine,
        row.recipe + ("*" if row.file and row.precision != "fp32" else ""),
        f"{row.size_kb:.0f}",
        f"{row.size_ratio:.3f}",
        f"{row.agreement:.2%}",
        _percent(row.accuracy),
        _percent(row.macro_f1),
        "-" if row.ccc is None else f"{row.ccc:.3f}",
        f"{row.int8_convs}/{row.convs}",
        f"{row.p50_ms:.3f}",
        f"{row.latency_ratio:.2f}",
        "-" if row.instruction_ratio is None else f"{row.instruction_ratio:.2f}",
        row.verdict,
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.2%}"


def markdown(path: Path) -> str:
    """The rows of a quantize.csv as a Markdown table, for docs. Raises DataError where it is none."""
    try:
        lines = [_markdown_line(row) for _, row in csv_cells(path)]
    except KeyError as error:
        raise DataError(f"{path}: no column {error}; expected a quantize.csv. Make it with `make quantize`.") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}; expected a quantize.csv. Make it with `make quantize`.") from None
    if not lines:
        raise DataError(f"{path}: no row; expected a quantize.csv. Make it with `make quantize`.")
    heads = ("recipe", "KB", "accuracy", "macro-F1", "same class as float", "time to float's", "gate")
    return "\n".join((f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *lines))


def _markdown_line(row: dict[str, str]) -> str:
    percents = [f"{float(row[name]):.2%}" if row[name] else "" for name in ("accuracy", "macro_f1", "agreement")]
    name = f"float, {row['engine']}" if row["recipe"] == "float" else f"`{row['recipe']}`"
    gate = f"**{row['verdict']}**" if row["file"] and row["precision"] != "fp32" else row["verdict"]
    cells = (name, f"{float(row['size_kb']):.0f}", *percents, f"{float(row['latency_ratio']):.2f}", gate)
    return f"| {' | '.join(cells)} |"
