"""`fer-edge-lab`: the workbench, from a dataset to a board, on one command line."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_edge import __version__
from fer_edge.errors import FerEdgeError, UsageError, run_reporting

import export.commands
import quantize.commands
import train.commands
from boards.commands import bundle, comparisons, emulation, jobs, measurements, pages
from quantize.counter import InstructionCounter
from train.command_files import require_files
from train.command_line import CommandParser, Commands

PROGRAM = "fer-edge-lab"
_ROOT = Path(__file__).resolve().parents[1]
# The first path of a message: words with slashes between, or a file's name and suffix.
_PATH = re.compile(r"(?<![\w./-])\w[\w.+-]*(?:/[\w.+-]+|\.[a-z]+\b)+")
_HELP = """From a trained network to a verified board. A model is named as in models/ and artifacts/:

  fer-edge-lab export fer-base      float files of a checkpoint
  fer-edge-lab quantize fer-base    INT8 files that keep its accuracy
  fer-edge-lab bench fer-base       their latency and accuracy
  fer-edge-lab bundle pi5           all that a board needs, in dist/
"""


def main(arguments: Sequence[str] | None = None, counter: InstructionCounter | None = None) -> int:
    """Parse and run one command; its exit code. `counter` counts instructions in the place of the emulator."""
    words = export.commands.with_values_joined(sys.argv[1:] if arguments is None else arguments)
    parser, commands = command_line(counter or _count)
    if words and not words[0].startswith("-") and words[0] not in commands.names:
        return run_reporting(PROGRAM, lambda: _refuse(words[0], commands.names))
    try:
        options = parser.parse_args(words)
    except SystemExit as ended:
        if ended.code:
            return UsageError.exit_code
        raise  # after --help
    return run_reporting(f"{PROGRAM} {options.command}", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    try:
        require_files(options.parser, options)
        options.run(options)
    except FerEdgeError as error:
        place = _PATH.search(str(error))
        if place and (hint := _hint(place[0].rstrip("."))):
            error.args = (f"{error}{hint}",)
        raise
    except OSError as error:
        if hint := _hint(error.filename if isinstance(error.filename, str) else ""):
            raise UsageError(f"{error.filename}: {error.strerror}.{hint}") from None
        raise


def _hint(name: str) -> str:
    """Where to run a command that lacks `name` here: most paths are relative to the project's folder."""
    if not name or Path(name).is_absolute() or Path(name).exists() or not (_ROOT / name).exists():
        return ""
    return f" {name} is in {_ROOT}: run {PROGRAM} there."


def _refuse(word: str, names: Sequence[str]) -> None:
    near = difflib.get_close_matches(word, names, n=1)
    meant = f"; the nearest is {near[0]}" if near else ""
    raise UsageError(f"no command {word!r}{meant}. `{PROGRAM} --help` lists them.")


def command_line(counter: InstructionCounter | None = None) -> tuple[argparse.ArgumentParser, Commands]:
    """Return the parser of every command, and the commands; `run` in its namespace is what to do."""
    parser = CommandParser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND ...",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = Commands(parser)
    commands.begin_group("Conversion")
    export.commands.register(commands)
    export.commands.register_adopt(commands)
    quantize.commands.register(commands, counter)
    commands.begin_group("Measurements")
    for register in (
        measurements.register, comparisons.register, comparisons.register_detectors, pages.register_program
    ):  # fmt: skip
        register(commands)
    commands.begin_group("Boards")
    for register in (bundle.register, emulation.register, emulation.register_vm):
        register(commands)
    train.commands.register(commands)
    commands.begin_group("Many models, tables and pages")
    for subject in (jobs, pages):
        subject.register(commands)
    parser.epilog = f"{commands.listing().lstrip()}\n\n{PROGRAM} COMMAND --help says more."
    return parser, commands


def _count(models: Sequence[Path], cpu: str) -> dict[Path, int]:
    from boards.arm64.counting import count_or_skip

    return count_or_skip(models, cpu)


if __name__ == "__main__":
    sys.exit(main())
