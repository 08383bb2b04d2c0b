"""The fenced code blocks of the README and of docs/, and the commands in them."""

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LANGUAGES = ("bash", "python", "toml", "yaml", "json", "text")


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, the number of its first line there, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, as an editor takes it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One line of a `bash` block without its comment, as words."""

    place: str
    words: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page, in order. Raises ValueError where a fence is not closed."""
    found, opened = [], None
    lines = page.read_text().split("\n")
    for number, line in enumerate(lines, 1):
        fence = re.fullmatch(r"\s*```(\w*)", line)
        if fence and opened is None:
            opened = (number + 1, fence[1])
        elif fence and opened is not None:
            first, language = opened
            found.append(Block(page, first, language, "\n".join(lines[first - 1 : number - 1]) + "\n"))
            opened = None
    if opened is not None:
        raise ValueError(f"{page}:{opened[0]}: this block has no end.")
    return found


def indented_lines(page: Path) -> list[int]:
    """Numbers of the lines that begin a code block by indentation alone, which says no language."""
    lines, fenced, found = page.read_text().split("\n"), False, []
    for number, (before, line) in enumerate(zip(["", *lines], lines, strict=False), 1):
        fenced ^= line.lstrip().startswith("```")
        if not fenced and line.startswith("    ") and not before.strip() and line.strip():
            found.append(number)
    return found


def commands() -> list[Command]:
    """Every command of every `bash` block of the documentation."""
    shell = (block for page in PAGES for block in blocks_of(page) if block.language == "bash")
    return [command for block in shell for command in _commands_of(block)]


def _commands_of(block: Block) -> list[Command]:
    """A line's commands, split at && and ;, without its comment. What stands in quotes stays one word."""
    found = []
    for offset, line in enumerate(block.text.splitlines()):
        place = f"{block.page.relative_to(ROOT)}:{block.line + offset}"
        reader = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        reader.whitespace_split = True
        for joint, words in itertools.groupby(reader, key=lambda word: set(word) <= set(";&|")):
            if not joint:
                found.append(Command(place, tuple(words)))
    return found
