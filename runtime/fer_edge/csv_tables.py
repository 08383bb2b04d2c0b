"""CSV files of measurements: read strictly into frozen dataclasses, and written from them, whole or not at all.

The columns of a file are the fields of its dataclass, so the dataclass documents them. What is None is an empty cell.
"""

import csv
import io
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from fer_edge.errors import DataError
from fer_edge.files import atomic_write, open_regular
from fer_edge.tables import WHOLE_NUMBER, Refusal, checked, cut, read_text, shown

Row = TypeVar("Row")

_CSV_BYTES, _HEADER_BYTES = 1 << 26, 1 << 16
_DECIMALS = 4


def columns_of(kind: type) -> tuple[str, ...]:
    """The columns of a file of `kind`, a dataclass, in order."""
    return tuple(field.name for field in fields(kind))


def write_csv(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write one line a row, atomically; floats with four decimals."""
    columns = columns_of(kind)
    write_cells(path, columns, ({name: getattr(row, name) for name in columns} for row in rows))


def write_cells(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], decimals: Mapping[str, int] | None = None
) -> None:
    """Write rows of named cells, atomically, for files whose columns are known only when they are made.

    A float has `decimals` of its column, or four; what a row lacks, and None, is an empty cell.
    """
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _written(value, (decimals or {}).get(name)) for name, value in row.items()})


def _written(value: object, decimals: int | None) -> object:
    if value is None:
        return ""
    return f"{value:.{_DECIMALS if decimals is None else decimals}f}" if isinstance(value, float) else value


def csv_header(path: Path, error: Refusal = DataError) -> list[str]:
    """The names of a CSV file's columns, whatever may be wrong behind them; none where it is no CSV. Raises `error`."""
    with open_regular(path, error) as stream:
        text = stream.read(_HEADER_BYTES).decode("utf-8-sig", errors="replace")
    try:
        return next(csv.reader(io.StringIO(text, newline="")), [])
    except csv.Error:
        return []


def csv_cells(path: Path, error: Refusal = DataError) -> Iterator[tuple[str, dict[str, str]]]:
    """Every row of a CSV file by its columns, with the place to name in messages: "FILE, row 2". Raises `error`.

    The columns are those of its first row; every other row has a cell for each of them.
    """
    header, rows = _csv(path, error)
    for where, cells in rows:
        yield where, dict(zip(header, cells, strict=True))


def read_csv(path: Path, kind: type[Row], error: Refusal = DataError) -> list[Row]:
    """The rows of a CSV file whose columns are the fields of the dataclass `kind`, in any order. Raises `error`."""
    header, rows = _csv(path, error)
    hints = typing.get_type_hints(kind, include_extras=True)
    differences = {
        "missing": [name for name in hints if name not in header],
        "unknown": [shown(name) for name in header if name not in hints],
    }
    if any(differences.values()):
        text = "; ".join(f"{word} {', '.join(names[:8])}" for word, names in differences.items() if names)
        raise error(f"{path}: other columns than expected: {text}.")
    return [_row(kind, hints, dict(zip(header, cells, strict=True)), where, error) for where, cells in rows]


def _row(kind: type[Row], hints: dict[str, Any], cells: Mapping[str, str], where: str, error: Refusal) -> Row:
    values = {name: checked(hint, _cell(hint, cells[name]), f"{where}: {name}", error) for name, hint in hints.items()}
    return kind(**values)


def _cell(hint: Any, text: str) -> object:
    """The value a cell stands for, for the builder to judge: of the type `hint` asks for where `text` can be that."""
    kinds = [hint, *typing.get_args(hint)]
    kinds += [kind for one in kinds for kind in typing.get_args(one)]
    if text == "" and type(None) in kinds:
        return None
    if bool in kinds:
        return {"True": True, "False": False}.get(text, text)
    if int in kinds:
        return int(text) if WHOLE_NUMBER.fullmatch(text) else text
    if float in kinds:
        try:
            return float(text) if "_" not in text else text
        except ValueError:
            return text
    return text


def _csv(path: Path, error: Refusal) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """The columns of a CSV file, and its rows with their places."""
    lines = _csv_lines(path, error)
    header = next(lines, ("", []))[1]
    if repeated := next((name for name in header if header.count(name) > 1), None):
        raise error(f"{path}: column {shown(repeated)} is there twice.")
    return header, _whole_rows(lines, len(header), error)


def _whole_rows(
    lines: Iterator[tuple[str, list[str]]], columns: int, error: Refusal
) -> Iterator[tuple[str, list[str]]]:
    for where, cells in lines:
        if len(cells) != columns:
            raise error(f"{where}: {len(cells)} cells, expected {columns}. Is the row cut off?")
        yield where, cells


def _csv_lines(path: Path, error: Refusal) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV file, numbered from 1; empty ones are passed over."""
    reader = csv.reader(io.StringIO(read_text(path, error, limit_bytes=_CSV_BYTES), newline=""))
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            if cells:
                yield f"{path}, row {number}", cells
    except csv.Error as problem:
        raise error(f"{path}, row {number + 1}: not CSV: {cut(problem)}.") from None
