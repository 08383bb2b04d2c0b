"""Reference pages of docs/ that are made from the code: configuration keys, command lines, CSV files, API."""

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from fer_edge import cli
from fer_edge.options import Key
from fer_edge.options import keys as all_keys

from boards import api_reference, csv_reference
from boards.lab import command_line

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
        Page("reference-csv.md", csv_reference.page(_NOTE)),
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
