"""`figures`, `variants`, `reference`: tables and pictures from committed CSV files, reference pages from the code."""

import argparse
from pathlib import Path

from train.command_files import INPUT, OUTPUT_FOLDER
from train.command_line import MEASURED, Commands


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
