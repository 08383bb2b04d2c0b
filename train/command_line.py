"""The workbench's command line, as every package adds to it: commands in groups, and the options they share."""

import argparse
from pathlib import Path
from typing import NoReturn

from fer_edge.arguments import number, quoted, whole_number
from fer_edge.errors import UsageError
from fer_edge.streams import printable

from train.command_files import OUTPUT_FILE, FileType
from train.data import cache
from train.data.fer2013 import SPLITS

FACES = cache.DEFAULT_CACHE
MODELS = Path("models")
ARTIFACTS = Path("artifacts")
MEASURED = Path("docs/measured")
ABLATIONS = Path("docs/ablations")
# The seeds that torch, numpy and random all take.
MOST_SEED = 2**32 - 1
seed = whole_number(0, MOST_SEED)
minutes = number(0.01, 525_600)


class CommandParser(argparse.ArgumentParser):
    """argparse's parser, with its errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print `message` and where to read more, and exit with code 2."""
        line = printable(" ".join(message.split()))
        self.exit(UsageError.exit_code, f"{self.prog}: {line}. `{self.prog} --help` says more.\n")


class Commands:
    """The commands of a parser, in the groups that its help lists; `namespace.run` is what to do."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(
            metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS, prog=parser.prog
        )
        self._groups: dict[str, list[tuple[str, str]]] = {}
        self._group: list[tuple[str, str]] = []

    @property
    def names(self) -> list[str]:
        """Every command's name."""
        return [name for commands in self._groups.values() for name, _ in commands]

    def begin_group(self, title: str) -> None:
        """Put the commands added from now on under `title`."""
        self._group = self._groups.setdefault(title, [])

    def add_parser(self, name: str, *, help: str, description: str | None = None) -> argparse.ArgumentParser:
        """Add a command, as argparse does; `help` is its line in the list and the first of its own help."""
        self._group.append((name, help))
        said = description or f"{help[0].upper()}{help[1:]}."
        shape = argparse.RawDescriptionHelpFormatter
        parser: argparse.ArgumentParser = self._parsers.add_parser(name, description=said, formatter_class=shape)
        parser.set_defaults(parser=parser)
        return parser

    def listing(self) -> str:
        """Return the names with what each does, one a line, under the titles of their groups."""
        lines = []
        for title, commands in self._groups.items():
            lines += ["", f"{title}:", *(f"  {name:18} {help}" for name, help in commands)]
        return "\n".join(lines)


def _require_faces(path: Path, argument: str) -> None:
    if not path.exists():
        raise UsageError(f"{path} not found. Make it with `make data FER2013=fer2013.csv FERPLUS=fer2013new.csv`.")


def add_faces(
    parser: argparse.ArgumentParser, help: str = "face cache that `make data` writes", *, optional: bool = False
) -> None:
    """Add --faces, the labelled faces a command reads; where `optional`, it does without them as well."""
    kind = Path if optional else FileType(_require_faces)
    parser.add_argument("--faces", type=kind, default=FACES, help=f"{help} ({FACES})")


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add --split, which part of the face cache a finished model is measured on."""
    parser.add_argument("--split", type=_split, default="PublicTest", help="PublicTest (default) or PrivateTest")


def _split(text: str) -> str:
    if text not in SPLITS:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is none of the splits {', '.join(SPLITS)}")
    return text


def add_seed(parser: argparse.ArgumentParser, help: str, default: int | None = None) -> None:
    """Add --seed, of what a command draws at random."""
    parser.add_argument("--seed", type=seed, default=default, help=help)


def add_out(
    parser: argparse.ArgumentParser, default: str | Path, help: str = "file to write", kind: FileType = OUTPUT_FILE
) -> None:
    """Add --out, where a command writes: a file, or a folder where `kind` is OUTPUT_FOLDER."""
    parser.add_argument("--out", type=kind, default=Path(default), help=f"{help} ({default})")


def checkpoint_path(text: str) -> Path:
    """Path of a checkpoint: of that of a model in models/, where `text` is its name alone."""
    _require_text(text)
    return MODELS / text / f"{text}.safetensors" if _is_name(text) else Path(text)


def artifact_path(text: str) -> Path:
    """Path of an artifact folder or file: of that of a model in artifacts/, where `text` is its name alone."""
    _require_text(text)
    return ARTIFACTS / text if _is_name(text) else Path(text)


def _require_text(text: str) -> None:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a model, folder or file")


def _is_name(text: str) -> bool:
    path = Path(text)
    return path.name == text and not path.suffix and text not in (".", "..") and not path.exists()
