"""`python -m quantize SOURCE`: the fastest INT8 that keeps its accuracy; quantize.csv says what was measured.

SOURCE is an artefact folder, a checkpoint (.safetensors), or a float .onnx that carries a contract.
`python -m quantize inspect SOURCE` looks into an INT8 .onnx layer by layer; `curve SOURCE` measures how many
calibration faces are enough; `compare CHECKPOINT...` says what INT8 costs several networks; `table CSV` prints a
quantize.csv as Markdown; `simulate` says how often the gate passes a good and a bad file. `make quantize` counts the
instructions of an Arm target's candidates besides, under emulation.

Exit codes: 0 every kind of file has an INT8 model that passed the gate; 1 one has not, or its faces are too few to
tell: deploy.json then names the float or fp16 file; 2 bad usage or nothing to calibrate with; 4 float models, contract
or calibration cache refused.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import run_reporting

from quantize.counter import InstructionCounter


def main(arguments: list[str] | None = None, counter: InstructionCounter | None = None) -> int:
    """Parse and run; the exit code. `counter` counts instructions for the Arm targets."""
    words = sys.argv[1:] if arguments is None else arguments
    parser, run = _JOBS.get(words[0] if words else "", (_parser, lambda options: _run(options, counter)))
    options = parser().parse_args(words[1:] if words and words[0] in _JOBS else words)
    return run_reporting("quantize", lambda: run(options))


def _run(options: argparse.Namespace, counter: InstructionCounter | None) -> None:
    from quantize import session

    session.run_search(options, counter)


def _inspect(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_inspection(options)


def _curve(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_curve(options)


def _table(options: argparse.Namespace) -> None:
    from quantize import report

    print(report.markdown(options.csv))


def _compare(options: argparse.Namespace) -> None:
    from quantize.compare import compare_all

    compare_all(options.checkpoints, options.faces, options.artefacts, options.count, options.out)
    print(options.out.read_text(), end="")


def _simulate(options: argparse.Namespace) -> None:
    from quantize import simulate

    files = [simulate.Rates(agreement / 100, drop) for agreement, drop in options.rates]
    found = simulate.simulate(options.float, files, options.faces, options.split, options.draws)
    simulate.write(found, options.csv)
    print(simulate.table(options.csv))


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
        "--min-agreement", type=float, metavar="PERCENT", help="faces with the same top class as float (98)"
    )
    parser.add_argument(
        "--accept-too-few",
        action="store_true",
        help="where the faces are too few to tell, write what keeps every limit on them; its contract says so",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write the best candidate even if it fails the gate, and mark it as forced in its contract",
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


def _compare_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize compare",
        description="Export and quantize each network in a folder of its own, past the gate, and compare.",
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help=".safetensors files, such as those of an ablation")
    parser.add_argument("--faces", type=Path, default=Path("data/fer2013.npz"), help="face cache of `make data`")
    parser.add_argument("--artefacts", type=Path, default=Path("build/compared"), help="folder of their files")
    parser.add_argument("--count", type=int, help="calibration faces (512)")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    return parser


def _simulate_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize simulate",
        description="How often the gate passes INT8 files, by the number of faces that judge them.",
    )
    parser.add_argument("float", type=Path, help="the float model")
    parser.add_argument(
        "--rates",
        type=float,
        nargs=2,
        action="append",
        required=True,
        metavar=("AGREEMENT", "DROP"),
        help="a file's top-1 agreement with float in percent and points of accuracy it loses (may be repeated)",
    )
    parser.add_argument("--faces", type=Path, default=Path("data/fer2013.npz"), help="face cache of `make data`")
    parser.add_argument("--split", default="PublicTest", help="split the faces are drawn from (PublicTest)")
    parser.add_argument("--draws", type=int, default=400, help="times each number of faces is drawn (400)")
    parser.add_argument("--csv", type=Path, default=Path("docs/measured/gate.csv"), help="written")
    return parser


def _counts(text: str) -> tuple[int, ...]:
    return _numbers(text, 1)


def _seeds(text: str) -> tuple[int, ...]:
    return _numbers(text, 0)


def _numbers(text: str, least: int) -> tuple[int, ...]:
    expected = f"{text!r}: expected whole numbers of {least} or more with commas between"
    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(expected) from None
    if min(numbers) < least:
        raise argparse.ArgumentTypeError(expected)
    return numbers


_JOBS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], None]]] = {
    "inspect": (_inspect_parser, _inspect),
    "curve": (_curve_parser, _curve),
    "table": (_table_parser, _table),
    "compare": (_compare_parser, _compare),
    "simulate": (_simulate_parser, _simulate),
}

if __name__ == "__main__":
    sys.exit(main())
