"""Read CSV files of several boards and refuse what cannot be compared: other columns, other units, rows given twice."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_edge.bench import BenchRow
from fer_edge.bench.sustained import SustainedRow
from fer_edge.csv_tables import csv_header, read_csv
from fer_edge.errors import DataError
from fer_edge.tables import shown

from boards.confusion import ConfusionRow
from boards.detectors.scoring import DetectorRow
from boards.instructions import INSTRUCTIONS, InstructionRow, read_instructions
from boards.noise import NoiseRow
from boards.peers.paired import PeerRow

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
    detectors: list[DetectorRow] = field(default_factory=list)


def read_measured(inputs: Sequence[Path]) -> Measured:
    """Read CSV files, and those below folders; in a folder, other tables are passed over.

    Raises DataError where there is no table, and naming file, row and column for a file that is named and is none of
    ours, that has columns too many or too few, a value out of range for its unit, or a row that another file has too.
    """
    measured = Measured()
    named = [path for path in inputs if not path.is_dir()]
    found = [path for folder in inputs if folder.is_dir() for path in sorted(folder.rglob("*.csv"))]
    for path in (*named, *found):
        _read(path, measured, must=path in named)
    if not any(vars(measured).values()):
        raise DataError(f"{', '.join(map(str, inputs))}: no CSV of `fer-edge bench` or of this workbench.")
    if not measured.instructions and INSTRUCTIONS.is_file():
        measured.instructions = read_instructions(INSTRUCTIONS)
    _refuse_duplicates(measured)
    return measured


def _read(path: Path, measured: Measured, *, must: bool) -> None:
    if not path.is_file():
        raise DataError(f"{path} not found. Name CSV files of `fer-edge bench`, or folders with them.")
    header = set(csv_header(path))
    kinds: list[tuple[type[Any], list[Any]]] = [
        (BenchRow, measured.bench),
        (SustainedRow, measured.sustained),
        (NoiseRow, measured.noise),
        (PeerRow, measured.peers),
        (ConfusionRow, measured.confusions),
        (InstructionRow, measured.instructions),
        (DetectorRow, measured.detectors),
    ]
    kind, rows = max(kinds, key=lambda one: len(_columns(one[0]) & header) / len(_columns(one[0]) | header))
    if len(_columns(kind) & header) < 0.6 * len(_columns(kind)):
        if must:
            found = ", ".join(shown(name) for name in sorted(header)[:20]) or "none"
            raise DataError(f"{path}: none of the tables of fer-edge (columns {found}).")
        return
    read = read_csv(path, kind)
    for number, row in enumerate(read, start=2):
        _check_units(row, f"{path}, row {number}")
    rows += read


def _columns(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def _check_units(row: Any, where: str) -> None:
    """Milliseconds, frames a second, fractions: what does not fit together was written in another unit."""
    for name in _FRACTIONS:
        value = getattr(row, name, None)
        if value is not None and not 0 <= value <= 1:
            raise DataError(f"{where}: {name} is {value:g}, expected a fraction from 0 to 1, not per cent.")
    if not isinstance(row, BenchRow):
        return
    percentiles = [getattr(row, name) for name in _PERCENTILES]
    if percentiles != sorted(percentiles) or percentiles[0] < 0:
        raise DataError(f"{where}: p50 to p99 are {percentiles}, expected milliseconds in rising order.")
    # four decimals are written, so a stage of microseconds is coarse
    if row.mean_ms > 0.05 and not 0.9 < row.fps * row.mean_ms / 1e3 < 1.1:
        raise DataError(f"{where}: mean_ms {row.mean_ms:g} and fps {row.fps:g} contradict; expected ms and 1/s.")


def _refuse_duplicates(measured: Measured) -> None:
    _refuse(
        measured.bench, lambda r: (r.board, r.runtime, r.model, r.detector, r.threads, r.source, r.stage, r.started_at)
    )
    _refuse(measured.sustained, lambda r: (r.board, r.model, r.threads, r.work, r.minute, r.started_at))
    _refuse(measured.noise, lambda r: (r.model_sha256, r.dataset, r.split, r.task, r.noise, r.step))
    _refuse(measured.peers, lambda r: (r.name, r.model, r.dataset, r.split))
    _refuse(measured.detectors, lambda r: (r.detector, r.side_px, r.rule))
    _refuse(measured.confusions, lambda r: (r.model_sha256, r.dataset, r.split, r.truth, r.predicted))


def _refuse(rows: Iterable[Any], key: Callable[[Any], tuple[Any, ...]]) -> None:
    for found, count in Counter(map(key, rows)).items():
        if count > 1:
            words = ", ".join(str(word) for word in found if word not in (None, ""))
            raise DataError(f"{count} rows of one measurement ({words}); is a file given twice?")
