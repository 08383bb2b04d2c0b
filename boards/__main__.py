"""`python -m boards`: bench, bundle, counts and emulation, figures and report; --help lists the commands."""

import argparse
import sys

from fer_edge.errors import run_reporting

from boards.commands import bench, bundle, detectors, emulation, figures, measure, program, vm


def main(arguments: list[str] | None = None) -> int:
    """Parse and run one command; its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["quantize"]:
        return _quantize(words[1:])
    options = _parser().parse_args(words)
    return run_reporting("boards", lambda: options.run(options))


def _quantize(words: list[str]) -> int:
    """`python -m quantize`, which counts on an Arm target's core what its candidates execute."""
    from boards.arm64.counting import count_or_skip
    from quantize.__main__ import main as quantize

    return quantize(words, count_or_skip)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m boards", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("quantize", help="`python -m quantize`, with instructions counted on emulated Arm cores")
    for group in (bench, measure, detectors, program, figures, bundle, emulation, vm):
        group.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
