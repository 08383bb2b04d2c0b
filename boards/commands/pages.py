"""`figures`, `variants`, `reference`: tables and pictures from committed CSV files, reference pages from the code.

`compare`, `load`, `screenshots`: the program itself, timed, loaded and looked at.
"""

import argparse
import os
import shutil
from pathlib import Path

from fer_edge.arguments import positive, quoted, whole
from fer_edge.errors import DataError, UsageError

from boards.media import CLIP, VIDEO
from train.command_files import INPUT, INPUT_FILE, OUTPUT_FOLDER, FileType
from train.command_line import MEASURED, Commands, add_out


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    figures = commands.add_parser(
        "figures", help="print the tables of README and docs/ and make docs/report/, from committed CSV files"
    )
    figures.add_argument("folder", type=INPUT, nargs="?", default=MEASURED)
    figures.add_argument("--loop-of", default="fer-base.int8.tflite", help="the model whose whole loop is shown")
    figures.set_defaults(run=_figures)

    variants = commands.add_parser("variants", help="print an ablation in full: accuracy, INT8 and instructions")
    variants.add_argument("folder", type=INPUT, help="such as docs/ablations/mobilenetv3, after `make ablation`")
    variants.set_defaults(run=_variants)

    reference = commands.add_parser("reference", help="write the reference pages of docs/ from the code")
    reference.add_argument("--out", type=OUTPUT_FOLDER, default=Path("docs"), help="folder (default docs)")
    reference.set_defaults(run=_reference)


def _variants(options: argparse.Namespace) -> None:
    from boards.figures import variants_table

    print(variants_table(options.folder))


def _reference(options: argparse.Namespace) -> None:
    from boards.reference import write

    print(*write(options.out), sep="\n")


def _figures(options: argparse.Namespace) -> None:
    from boards.figures import accuracy_table, instructions_table, loop_table, peers_table, systems_table
    from boards.groups import SYSTEMS
    from boards.report import make_report

    tables = [accuracy_table(options.folder), loop_table(options.folder, options.loop_of)]
    print(*tables, peers_table(options.folder), instructions_table(), systems_table(SYSTEMS), sep="\n\n")
    print(f"\n{make_report([options.folder], Path('docs/report'))}")


def _core(text: str) -> int:
    """Number of a processor core that this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    if text not in map(str, cores):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is no core of this machine: {', '.join(map(str, cores))}")
    return int(text)


def _require_program(path: Path, argument: str) -> None:
    if shutil.which(path) is None:
        raise UsageError(f"{path}: no program to run. {argument} expects the path of one, or its name on PATH.")


_PROGRAM = FileType(_require_program)


def register_program(commands: Commands) -> None:
    """Add the commands to the parser."""
    compare = commands.add_parser("compare", help="the whole loop against the PyPI package fer, paired frame by frame")
    compare.add_argument(
        "--peer-python", type=_PROGRAM, required=True, help="interpreter of an environment that has fer 25.10.3"
    )
    compare.add_argument("--clip", type=VIDEO, default=CLIP)
    compare.add_argument("--onnx", type=INPUT_FILE, default=Path("artifacts/fer-base/fer-base.int8.onnx"))
    compare.add_argument("--detector-file", type=INPUT_FILE, required=True, metavar="FILE", help="YuNet")
    compare.add_argument("-n", type=positive, default=300)
    compare.add_argument("--warmup", type=positive, default=20)
    compare.add_argument("--core", type=_core, default="0", help="the core all of them are pinned to")
    add_out(compare, MEASURED / "loop.csv")
    compare.set_defaults(run=_compare)

    load = commands.add_parser("load", help="the camera program with viewers, broker, metrics, files and a recording")
    load.add_argument("--clip", type=VIDEO, default=CLIP)
    load.add_argument("--seconds", type=positive, default=300, help="length of a run (default 300)")
    load.add_argument("--viewers", type=whole, nargs="+", default=[0, 20], help="a run for each (default 0 20)")
    load.add_argument("--max-viewers", type=positive, default=8, help="how many the page lets in (default 8)")
    add_out(load, MEASURED / "load.csv")
    load.set_defaults(run=_load)

    screenshots = commands.add_parser("screenshots", help="pictures of the web page for docs/, the face hidden")
    screenshots.add_argument("--clip", type=VIDEO, default=CLIP)
    screenshots.add_argument("--chromium", type=_PROGRAM, default=Path("/usr/bin/chromium"))
    screenshots.add_argument("--out", type=OUTPUT_FOLDER, default=Path("docs"), help="folder (default docs)")
    screenshots.add_argument("--model", type=INPUT_FILE, help="another model than the runtime's own")
    screenshots.set_defaults(run=_screenshots)


def _compare(options: argparse.Namespace) -> None:
    from boards.compare import compare, lines, write_loop

    files = [options.onnx, options.detector_file]
    rows = compare(options.clip, str(options.peer_python), files, n=options.n, warmup=options.warmup, core=options.core)
    write_loop(options.out, rows)
    print(*lines(rows), options.out, sep="\n")


def _load(options: argparse.Namespace) -> None:
    from boards.load import table, write_load
    from boards.load.run import measure_load

    rows = []
    for viewers in options.viewers:
        row = measure_load(options.clip, seconds=options.seconds, viewers=viewers, max_viewers=options.max_viewers)
        rows.append(row)
        write_load(options.out, rows)
    print(table(options.out), options.out, sep="\n")
    if not all(row.is_complete for row in rows):
        raise DataError(f"something was lost, or a viewer got no answer: see {options.out}.")


def _screenshots(options: argparse.Namespace) -> None:
    from boards.screenshots import take_screenshots

    for path in take_screenshots(options.clip, options.out, str(options.chromium), options.model):
        print(path)
