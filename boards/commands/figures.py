"""`figures`: the README's tables and pictures, from committed CSV files."""

import argparse
from pathlib import Path

from boards.commands import Commands


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    figures = commands.add_parser(
        "figures", help="print the README's tables and draw its plot, from committed CSV files"
    )
    figures.add_argument("folder", type=Path, nargs="?", default=Path("docs/measured"))
    figures.add_argument("--loop-of", default="fer-base.int8.tflite", help="the model whose whole loop is shown")
    figures.set_defaults(run=_figures)


def _figures(options: argparse.Namespace) -> None:
    from boards.figures import accuracy_table, draw, loop_table

    print(accuracy_table(options.folder), loop_table(options.folder, options.loop_of), sep="\n\n")
    print(f"\n{draw(options.folder)}")
