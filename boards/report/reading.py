"""Read CSV files of several boards and refuse what cannot be compared: other columns, other units, rows given twice."""

import csv
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fer_edge.bench import COLUMNS, BenchRow, read_rows
from fer_edge.bench.sustained import SUSTAINED_COLUMNS, SustainedRow
from fer_edge.errors import DataError

from boards.confusion import CONFUSION_COLUMNS, ConfusionRow
from boards.instructions import COLUMNS as INSTRUCTION_COLUMNS
from boards.instructions import INSTRUCTIONS, InstructionRow, read_instructions
from boards.noise import NOISE_COLUMNS, NoiseRow
from boards.peers.measure import PEER_COLUMNS, PeerRow

_Row = TypeVar("_Row")
_FRACTIONS = ("accuracy", "macro_f1", "ece")
_PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")


@dataclass
class Measured:
    """All rows of all files, by kind."""

    bench: list[BenchRow] = field(default_factory=list)
    sustained: list[SustainedRow] = field(default_factory=list)
    noise: list[NoiseRow] = field(default_factory=list)
    peers: list[PeerRow] = field(default_factory=list)
    confusions: list[ConfusionRow] = field(default_factory=list)
    instructions: list[InstructionRow] = field(default_factory=list)


def read_measured(inputs: Sequence[Path]) -> Measured:
    """Read CSV files, and those below folders; in a folder, other tables are passed over.

    Raises DataError naming file, row and column for a file that is named and is none of ours, that has columns too many
    or too few, a value out of range for its unit, or a row that another file has too.
    """
    measured = Measured()
    named = [path for path in inputs if not path.is_dir()]
    found = [path for folder in inputs if folder.is_dir() for path in sorted(folder.rglob("*.csv"))]
    for path in (*named, *found):
        _read(path, measured, must=path in named)
    if not measured.instructions and INSTRUCTIONS.is_file():
        measured.instructions = read_instructions(INSTRUCTIONS)
    _refuse_duplicates(measured)
    return measured


def _read(path: Path, measured: Measured, *, must: bool) -> None:
    header = _header(path)
    kinds: list[tuple[Sequence[str], list[Any], Callable[[Path], list[Any]]]] = [
        (COLUMNS, measured.bench, _read_bench),
        (SUSTAINED_COLUMNS, measured.sustained, _reader(SustainedRow)),
        (NOISE_COLUMNS, measured.noise, _reader(NoiseRow)),
        (PEER_COLUMNS, measured.peers, _reader(PeerRow)),
        (CONFUSION_COLUMNS, measured.confusions, _reader(ConfusionRow)),
        (INSTRUCTION_COLUMNS, measured.instructions, read_instructions),
    ]
    columns, rows, read = max(kinds, key=lambda kind: len(set(kind[0]) & set(header)) / len(set(kind[0]) | set(header)))
    shared = len(set(columns) & set(header))
    if shared < 0.6 * len(columns):
        if must:
            raise DataError(f"{path}: none of the tables of fer-edge (columns {', '.join(header) or 'none'}).")
        return
    rows += read(path)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path} not found. Name CSV files of `fer-edge bench`, or folders with them.")
    with open(path, newline="", errors="replace") as stream:
        return next(csv.reader(stream), [])


def _read_bench(path: Path) -> list[BenchRow]:
    rows = read_rows(path)
    for number, row in enumerate(rows, start=2):
        _check_units(row, f"{path}, row {number}")
    return rows


def _check_units(row: BenchRow, where: str) -> None:
    """Milliseconds, frames a second, fractions: what does not fit together was written in another unit."""
    for name in _FRACTIONS:
        value = getattr(row, name)
        if value is not None and not 0 <= value <= 1:
            raise DataError(f"{where}: {name} is {value:g}, expected a fraction from 0 to 1, not per cent.")
    percentiles = [getattr(row, name) for name in _PERCENTILES]
    if percentiles != sorted(percentiles) or percentiles[0] < 0:
        raise DataError(f"{where}: p50 to p99 are {percentiles}, expected milliseconds in rising order.")
    # four decimals are written, so a stage of microseconds is coarse
    if row.mean_ms > 0.05 and not 0.9 < row.fps * row.mean_ms / 1e3 < 1.1:
        raise DataError(f"{where}: mean_ms {row.mean_ms:g} and fps {row.fps:g} contradict; expected ms and 1/s.")


def _reader(kind: type[_Row]) -> Callable[[Path], list[_Row]]:
    """Reads a table whose columns are the fields of `kind`, in their order."""
    hints = typing.get_type_hints(kind)

    def read(path: Path) -> list[_Row]:
        with open(path, newline="") as stream:
            reader = csv.DictReader(stream)
            found = reader.fieldnames or []
            missing, unknown = [n for n in hints if n not in found], [n for n in found if n not in hints]
            if missing or unknown:
                raise DataError(
                    f"{path}: missing {', '.join(missing) or 'nothing'}; unknown {', '.join(unknown) or 'nothing'}."
                )
            return [kind(**_values(cells, hints, f"{path}, row {n}")) for n, cells in enumerate(reader, start=2)]

    return read


def _values(cells: dict[str, str], hints: dict[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
        text = cells[name]
        try:
            values[name] = None if text == "" and typing.get_args(hint) else _parse(kinds[0], text)
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{where}: {name} is {text!r}, expected {kinds[0].__name__}.") from None
        if name in _FRACTIONS and not 0 <= values[name] <= 1:
            raise DataError(f"{where}: {name} is {text}, expected a fraction from 0 to 1, not per cent.")
    return values


def _parse(kind: type, text: str) -> Any:
    return {"True": True, "False": False}[text] if kind is bool else kind(text)


def _refuse_duplicates(measured: Measured) -> None:
    _refuse(
        measured.bench, lambda r: (r.board, r.runtime, r.model, r.detector, r.threads, r.source, r.stage, r.started_at)
    )
    _refuse(measured.sustained, lambda r: (r.board, r.model, r.threads, r.work, r.minute, r.started_at))
    _refuse(measured.noise, lambda r: (r.model_sha256, r.dataset, r.split, r.task, r.noise, r.step))
    _refuse(measured.peers, lambda r: (r.name, r.model, r.dataset, r.split))
    _refuse(measured.confusions, lambda r: (r.model_sha256, r.dataset, r.split, r.truth, r.predicted))


def _refuse(rows: Iterable[Any], key: Callable[[Any], tuple[Any, ...]]) -> None:
    for found, count in Counter(map(key, rows)).items():
        if count > 1:
            words = ", ".join(str(word) for word in found if word not in (None, ""))
            raise DataError(f"{count} rows of one measurement ({words}); is a file given twice?")
