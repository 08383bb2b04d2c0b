"""`python -m boards`: bench, bundle, counts and emulation, figures and report; --help lists the commands."""

import argparse
import sys

from fer_edge.errors import run_reporting

from boards.commands import bench, bundle, emulation, figures, measure, program, vm


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command; its exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("boards", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m boards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (bench, measure, program, figures, bundle, emulation, vm):
        group.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
