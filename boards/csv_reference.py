"""The reference page of CSV files: what makes each, what a row is, and its columns with their types, from the code."""

import dataclasses
import inspect
import types
import typing
from dataclasses import dataclass

from fer_edge.bench.rows import BenchRow
from fer_edge.bench.sustained import SustainedRow

from boards.alignment import AlignmentRow
from boards.compare import LoopRow
from boards.confusion import ConfusionRow
from boards.detectors.scoring import DetectorRow
from boards.detectors.swing import SwingRow
from boards.instructions import InstructionRow
from boards.load import LoadRow
from boards.margins import MarginRow
from boards.noise import NoiseRow
from boards.peers.paired import PeerRow
from boards.privacy import PrivacyRow
from quantize.curve import Point
from quantize.report import Row as QuantizeRow
from quantize.simulate import Frequency
from train.studies.copies import CopiesRow
from train.studies.ensemble import GroupRow
from train.studies.label_sets import LabelSetRow


@dataclass(frozen=True)
class CsvFile:
    """A kind of CSV file: where it lies, the command that makes it, and the dataclass of its rows."""

    path: str
    command: str
    kind: type


FILES = (
    CsvFile("docs/measured/MODEL/bench.csv", "fer-edge-lab bench MODEL` or, on a board, `fer-edge bench", BenchRow),
    CsvFile("sustained.csv", "fer-edge bench --sustained", SustainedRow),
    CsvFile("artifacts/MODEL/quantize.csv", "fer-edge-lab quantize MODEL", QuantizeRow),
    CsvFile("docs/measured/MODEL/confusion.csv", "fer-edge-lab bench MODEL", ConfusionRow),
    CsvFile("docs/measured/MODEL/noise.csv", "fer-edge-lab bench-noise FILE...", NoiseRow),
    CsvFile("docs/measured/MODEL/calibration.csv", "fer-edge-lab calibration-curve MODEL", Point),
    CsvFile("docs/measured/gate.csv", "fer-edge-lab simulate-gate FILE", Frequency),
    CsvFile("boards/instructions.csv", "fer-edge-lab count-instructions", InstructionRow),
    CsvFile("docs/measured/peers.csv", "fer-edge-lab bench-peers FILE...", PeerRow),
    CsvFile("docs/measured/detectors.csv", "fer-edge-lab bench-detectors", DetectorRow),
    CsvFile("docs/measured/following.csv", "fer-edge-lab bench-following", SwingRow),
    CsvFile("docs/measured/margins.csv", "fer-edge-lab margins FILE", MarginRow),
    CsvFile("docs/measured/alignment.csv", "fer-edge-lab alignment FILE...", AlignmentRow),
    CsvFile("docs/measured/privacy.csv", "fer-edge-lab privacy FILE", PrivacyRow),
    CsvFile("docs/measured/load.csv", "fer-edge-lab load", LoadRow),
    CsvFile("docs/measured/loop.csv", "fer-edge-lab compare", LoopRow),
    CsvFile("docs/measured/copies.csv", "fer-edge-lab copies MODEL...", CopiesRow),
    CsvFile("docs/measured/ensemble.csv", "fer-edge-lab ensemble MODEL...", GroupRow),
    CsvFile("docs/measured/labelsets.csv", "fer-edge-lab labelsets MODEL...", LabelSetRow),
)
_UNITS = {
    "_ms": "milliseconds", "_kb": "kB", "_mb": "MB", "_px": "pixels", "_deg": "degrees", "_s": "seconds",
    "_mhz": "MHz", "_c": "degrees Celsius", "_points": "points",
}  # fmt: skip
_TYPES = {str: "text", int: "whole number", float: "number", bool: "True or False"}


def page(note: str) -> str:
    """Return the page, `note` below its title."""
    parts = ["# CSV files\n", note]
    parts.append("One line is one row; an empty cell was not measured.\n")
    for file in FILES:
        row = f"`{file.kind.__qualname__}` of `{file.kind.__module__}`"
        parts.append(f"## `{file.path}`\n\nMade by `{file.command}`; a row is {row}. {_text(file.kind)}\n")
        parts.append("| column | type |\n|---|---|")
        parts += [f"| `{name}` | {_type_of(name, hint)} |" for name, hint in _columns(file.kind)]
        parts.append("")
    return "\n".join(parts)


def _columns(kind: type) -> list[tuple[str, object]]:
    hints = typing.get_type_hints(kind)
    return [(field.name, hints[field.name]) for field in dataclasses.fields(kind)]


def _text(kind: type) -> str:
    """The docstring as one paragraph."""
    return " ".join((inspect.getdoc(kind) or "").split())


def _type_of(name: str, hint: object) -> str:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    said = " or ".join(_TYPES.get(kind, "text") for kind in kinds if kind is not type(None))
    unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending) or f"{ending}_" in name), "")
    empty = ", may be empty" if type(None) in kinds else ""
    return f"{said}{f', {unit}' if unit else ''}{empty}"
