"""Reference pages of docs/ that are made from the code: configuration keys, command lines, CSV files, API."""

import argparse
import dataclasses
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from fer_edge import cli
from fer_edge.bench.rows import BenchRow
from fer_edge.bench.sustained import SustainedRow
from fer_edge.options import Key
from fer_edge.options import keys as all_keys

from boards import api_reference
from boards.alignment import AlignmentRow
from boards.compare import LoopRow
from boards.confusion import ConfusionRow
from boards.detectors.scoring import DetectorRow
from boards.detectors.swing import SwingRow
from boards.instructions import InstructionRow
from boards.lab import command_line
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

_NOTE = "This page is generated from the code by `fer-edge-lab reference`; edit the code, not the page.\n"
# argparse breaks lines by the width of the terminal.
_WIDTH = "100"


class _Captured(BaseException):
    """Carries the parser out of a `main` that was about to parse with it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


@dataclasses.dataclass(frozen=True)
class Page:
    """One generated page: its file name in docs/ and its Markdown."""

    name: str
    text: str


def pages() -> list[Page]:
    """Return every generated page, as it is to stand in docs/."""
    return [
        Page("reference-configuration.md", configuration()),
        Page("reference-cli.md", command_lines()),
        Page("reference-csv.md", page(_NOTE)),
        Page("reference-api.md", api_reference.page(_NOTE)),
    ]


def write(folder: Path) -> list[Path]:
    """Write the pages into `folder` and return their paths."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for page in made:
        (folder / page.name).write_text(page.text)
    return [folder / page.name for page in made]


def configuration() -> str:
    """Return every key of fer-edge.toml with flag, default and meaning, one table a section."""
    parts = ["# Configuration keys\n", _NOTE, "Keys of `fer-edge.toml` and their flags. A flag overrides the file.\n"]
    section = ""
    for key in all_keys():
        if key.section != section:
            section = key.section
            parts.append(f"## `[{section}]`\n\n| key | flag | default | meaning |\n|---|---|---|---|")
        parts.append(_row(key))
    return "\n".join(_spaced(parts)) + "\n"


def _spaced(parts: Sequence[str]) -> Iterator[str]:
    """Yield the parts, with a blank line before each heading that follows a table."""
    for number, part in enumerate(parts):
        yield f"\n{part}" if part.startswith("## ") and parts[number - 1].startswith("|") else part


def _row(key: Key) -> str:
    option = key.option
    choices = f" One of {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    flag = f"`{option.flag}{' ' + option.metavar if option.metavar else ''}`" if option.flag else ""
    cells = (f"`{key.name}`", flag, _default(key.default), option.help.replace("%%", "%") + choices)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: object) -> str:
    """Return a default as TOML writes it; a file inside the package by its name alone."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.name if isinstance(value, Path) else value}`"


def command_lines() -> str:
    """Return the help of every command: `fer-edge` and its commands, then those of `fer-edge-lab`."""
    parts = ["# Command lines\n", _NOTE, "## The program: `fer-edge`\n"]
    with mock.patch.dict(os.environ, {"COLUMNS": _WIDTH}):
        for command in cli._COMMANDS:
            parts += _help(_parser_of(cli.main, [command]))
        parts.append("## The workbench: `fer-edge-lab`\n")
        parts += _help(command_line()[0])
    return "\n".join(parts)


def _parser_of(main: Callable[[list[str]], object], words: list[str]) -> argparse.ArgumentParser:
    """Return the parser that `main` would read `words` with; nothing is run."""

    def capture(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Captured(parser)

    ways = {"parse_args": capture, "parse_known_intermixed_args": capture}
    try:
        with mock.patch.multiple(argparse.ArgumentParser, **ways):
            main(words)
    except _Captured as captured:
        return captured.parser
    raise AssertionError(f"{main.__module__} parsed nothing")


def _help(parser: argparse.ArgumentParser) -> list[str]:
    """Return a heading and the help of a parser, then of each of its commands."""
    text = "\n".join(line.rstrip() for line in parser.format_help().splitlines())
    found = [f"### `{parser.prog}`\n", f"```text\n{text}\n```\n"]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                found += _help(child)
    return found


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
