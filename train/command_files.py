"""Types of arguments that name files and folders. They are checked in one place, before a command's work begins."""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_edge.arguments import file_path
from fer_edge.errors import UsageError
from fer_edge.files import open_regular


@dataclass(frozen=True)
class FileType:
    """An argument's type: a path, and what is required of it. `require` raises UsageError, naming the argument."""

    require: Callable[[Path, str], None]

    def __call__(self, text: str) -> Path:
        """Parse one word of the command line."""
        if not text:
            raise argparse.ArgumentTypeError("'' is no name of a file or folder")
        return file_path(text)


def require_files(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Check every file and folder that `options`, parsed by `parser`, name; defaults too. Raises UsageError."""
    for action in parser._actions:
        if isinstance(action.type, FileType):
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest.upper())
            for path in _paths(getattr(options, action.dest)):
                action.type.require(path, name)


def _paths(value: object) -> Iterator[Path]:
    """The paths among an argument's values, however many it takes."""
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, Path):
            yield one


def require_input(path: Path, argument: str) -> None:
    """Raise UsageError unless `path` is a file or folder that is there."""
    if not path.exists():
        raise UsageError(f"{path}: not found. {argument} expects a file or folder that exists.")


def require_input_file(path: Path, argument: str) -> None:
    """Raise UsageError unless `path` is a file that can be read."""
    if not path.exists():
        raise UsageError(f"{path}: not found. {argument} expects a file that exists.")
    with open_regular(path, UsageError):
        pass


def require_output_file(path: Path, argument: str) -> None:
    """Raise UsageError unless a file can be written at `path`; what stands there stays, and nothing is left behind."""
    if not path.name or path.is_dir():
        raise UsageError(f"{path}: a folder. {argument} expects the name of a file to write.")
    if not path.exists() or path.is_file():  # else a device or a pipe, which is written itself
        _require_writable(Path(os.path.realpath(path)).parent, path, argument)


def require_output_folder(path: Path, argument: str) -> None:
    """Raise UsageError unless files can be written into `path`, which may still have to be made."""
    _require_writable(path, path, argument)


def _require_writable(folder: Path, path: Path, argument: str) -> None:
    """Try the nearest folder that is there: only a file made in it tells whether it takes one."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise UsageError(f"cannot write {path}: {there} is a file. {argument} expects a place inside a folder.")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}. Choose a folder you may write to with {argument}."
        ) from None


INPUT, INPUT_FILE = FileType(require_input), FileType(require_input_file)
OUTPUT_FILE, OUTPUT_FOLDER = FileType(require_output_file), FileType(require_output_folder)
