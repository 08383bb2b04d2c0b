"""The benchmark's CSV: one row a stage, columns fixed by COLUMNS. What was not measured is empty, never estimated."""

import csv
import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge import __version__
from fer_edge.errors import DataError
from fer_edge.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One stage of one configuration. Field order is the column order of the CSV; None is written as nothing."""

    board: str
    os: str
    arch: str
    cpu: str
    runtime: str
    runtime_version: str
    model: str
    model_sha256: str
    precision: str
    detector: str | None = None
    threads: int
    source: str | None = None
    stage: str
    n: int
    warmup: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    rss_mb: float | None = None
    model_kb: float
    temp_max_c: float | None = None
    freq_min_mhz: float | None = None
    throttled: bool | None = None
    dataset: str | None = None
    split: str | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    ece: float | None = None
    fer_edge_version: str = __version__
    started_at: str


COLUMNS = tuple(field.name for field in dataclasses.fields(BenchRow))


def write_rows(path: Path, rows: Iterable[BenchRow]) -> None:
    """Write the CSV atomically. Floats carry four decimals."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in dataclasses.asdict(row).items()} for row in rows)


def read_rows(path: Path) -> list[BenchRow]:
    """Read a CSV that `write_rows` wrote. Raises DataError naming the file, the row and the column that is wrong."""
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make bench`.")
    with open(path, newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path}: other columns than the benchmark's: {_difference(reader.fieldnames or ())}.")
        return [_parse_row(cells, f"{path}, row {number}") for number, cells in enumerate(reader, start=2)]


def _difference(found: Sequence[str]) -> str:
    """How a header differs from COLUMNS."""
    missing = [name for name in COLUMNS if name not in found]
    unknown = [name for name in found if name not in COLUMNS]
    parts = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
    return "; ".join(parts) or "another order"


def _parse_row(cells: dict[str, str], where: str) -> BenchRow:
    hints = typing.get_type_hints(BenchRow)
    values: dict[str, Any] = {}
    for name, text in cells.items():
        kinds = [kind for kind in typing.get_args(hints[name]) or (hints[name],) if kind is not type(None)]
        optional = len(typing.get_args(hints[name])) > 0
        try:
            values[name] = None if text == "" and optional else _PARSERS[kinds[0]](text)
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{where}: {name} is {text!r}, expected {kinds[0].__name__}.") from None
    return BenchRow(**values)


_PARSERS: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
}


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value
