"""`python -m quantize SOURCE`: the fastest INT8 that keeps its accuracy; quantize.csv says what was measured.

SOURCE is an artefact folder, a checkpoint (.safetensors), or a float .onnx that carries a contract.
`python -m quantize inspect SOURCE` looks into an INT8 .onnx layer by layer; `python -m quantize curve SOURCE` measures
how many calibration faces are enough; `python -m quantize table CSV` prints a quantize.csv as Markdown.

Exit codes: 0 every kind of file has a model that passed the gate, 1 one has not (see quantize.csv), 2 bad usage or
nothing to calibrate with, 4 float models, contract or calibration cache refused.
"""

import argparse
import sys
from pathlib import Path

from fer_edge.errors import run_reporting


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    jobs = {"inspect": (_inspect_parser, _inspect), "curve": (_curve_parser, _curve)}
    jobs["table"] = (_table_parser, _table)
    parser, run = jobs.get(words[0] if words else "", (_parser, _run))
    options = parser().parse_args(words[1:] if words and words[0] in jobs else words)
    return run_reporting("quantize", lambda: run(options))


def _run(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_search(options)


def _inspect(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_inspection(options)


def _curve(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_curve(options)


def _table(options: argparse.Namespace) -> None:
    from quantize import report

    print(report.markdown(options.csv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _add_source(parser)
    _add_calibration(parser)
    parser.add_argument("--target", help="x86, armv8, armv8.2-dot or jetson-trt (x86)")
    parser.add_argument(
        "--recipes", default="default", metavar="SET", help="default, all, or names of recipes with commas between"
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="replay the .recipe.json beside an INT8 model: its calibration, target and limit too, unless given here",
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="LAYER", help="leave this layer float (may be repeated)"
    )
    parser.add_argument("--max-drop", type=float, metavar="POINTS", help="points of accuracy that INT8 may lose (0.3)")
    parser.add_argument(
        "--force", action="store_true", help="write the best model even if it fails; its contract says so"
    )
    parser.add_argument(
        "--instructions",
        type=Path,
        metavar="CSV",
        help="instructions counted under emulation, for the Arm targets (boards/instructions.csv)",
    )
    parser.add_argument("--save-cache", type=Path, metavar="PATH", help="write the calibration cache there")
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="artefact folder, checkpoint or float .onnx")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="where a folder is made for the latter two")
    parser.add_argument(
        "--faces",
        type=Path,
        default=Path("data/fer2013.npz"),
        help="face cache written by `make data`, or a folder with one sub-folder of images a class",
    )
    parser.add_argument("--checkpoint", type=Path, help="refuse artefacts that were exported from another file")


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, help="calibration cache used without faces (models/NAME/calibration.json)"
    )
    parser.add_argument("--count", type=int, help="calibration faces (512)")
    parser.add_argument("--seed", type=int, help="which faces (0)")
    parser.add_argument(
        "--percentile", type=float, metavar="P", help="of the faces' own extremes, what a quantile range spans (99)"
    )


def _inspect_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize inspect",
        description="An INT8 .onnx layer by layer against float: what stayed float, and the layer to leave float.",
    )
    _add_source(parser)
    _add_calibration(parser)
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the ten worst layers there")
    return parser


def _curve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize curve", description="Agreement with float against the number of calibration faces."
    )
    _add_source(parser)
    parser.add_argument("--counts", default="32,64,128,256,512,1024,2048", type=_counts, metavar="N,N,...")
    parser.add_argument("--seeds", default="0,1,2", type=_seeds, metavar="N,N,...")
    parser.add_argument("--csv", type=Path, default=Path("docs/measured/calibration.csv"), help="written, with a .png")
    return parser


def _table_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quantize table", description="A quantize.csv as Markdown.")
    parser.add_argument("csv", type=Path)
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return _numbers(text, 1)


def _seeds(text: str) -> tuple[int, ...]:
    return _numbers(text, 0)


def _numbers(text: str, least: int) -> tuple[int, ...]:
    wanted = f"{text!r}: expected whole numbers of {least} or more with commas between"
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(wanted) from None
    if min(numbers) < least:
        raise argparse.ArgumentTypeError(wanted)
    return numbers


if __name__ == "__main__":
    sys.exit(main())
