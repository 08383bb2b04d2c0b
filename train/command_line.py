"""The workbench's command line, as every package adds to it: commands in groups, and the options they share."""

import argparse
from pathlib import Path

from train.data import cache

FACES = cache.DEFAULT_CACHE
MODELS = Path("models")
ARTIFACTS = Path("artifacts")
MEASURED = Path("docs/measured")
ABLATIONS = Path("docs/ablations")


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
        return self._parsers.add_parser(name, description=said, formatter_class=argparse.RawDescriptionHelpFormatter)

    def listing(self) -> str:
        """Return the names with what each does, one a line, under the titles of their groups."""
        lines = []
        for title, commands in self._groups.items():
            lines += ["", f"{title}:", *(f"  {name:18} {help}" for name, help in commands)]
        return "\n".join(lines)


def add_faces(parser: argparse.ArgumentParser, help: str = "face cache that `make data` writes") -> None:
    """Add --faces, the labelled faces a command reads."""
    parser.add_argument("--faces", type=Path, default=FACES, help=f"{help} ({FACES})")


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add --split, which part of the face cache a finished model is measured on."""
    parser.add_argument("--split", default="PublicTest", help="PublicTest (default) or PrivateTest")


def add_out(parser: argparse.ArgumentParser, default: str | Path, help: str = "file to write") -> None:
    """Add --out, where a command writes."""
    parser.add_argument("--out", type=Path, default=Path(default), help=f"{help} ({default})")


def checkpoint_path(text: str) -> Path:
    """Path of a checkpoint: of that of a model in models/, where `text` is its name alone."""
    return MODELS / text / f"{text}.safetensors" if _is_name(text) else Path(text)


def artifact_path(text: str) -> Path:
    """Path of an artifact folder or file: of that of a model in artifacts/, where `text` is its name alone."""
    return ARTIFACTS / text if _is_name(text) else Path(text)


def _is_name(text: str) -> bool:
    path = Path(text)
    return path.name == text and not path.suffix and text not in (".", "..") and not path.exists()
