"""`quantize` and the commands that look into what it does."""

import argparse
import re
from pathlib import Path

from fer_edge.arguments import number, positive

from quantize.arguments import counts, seeds, target_name
from quantize.counter import InstructionCounter
from train.command_files import INPUT, INPUT_FILE, OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import (
    ARTIFACTS,
    MEASURED,
    Commands,
    add_faces,
    add_out,
    add_seed,
    artifact_path,
    checkpoint_path,
)

_PICTURES = [Path("media/astronaut.png"), Path("media/WolfgangLanger_Pexels.mp4")]
_QUANTIZE = """The fastest INT8 that keeps its accuracy; quantize.csv beside it says what was measured.

For an Arm target the instructions of every candidate are counted, under emulation, where QEMU is installed.

Exit codes: 0 every kind of file has an INT8 model that passed the gate; 1 one has not, or its faces are too few to
tell: deploy.json then names the float or fp16 file; 2 bad usage or nothing to calibrate with; 4 float models, contract
or calibration cache refused.
"""


def register(commands: Commands, counter: InstructionCounter | None) -> None:
    """Add the commands to the parser. `counter` counts instructions for the Arm targets."""
    _register_quantize(commands, counter)
    _register_inspect(commands)
    _register_curve(commands)
    _register_compare(commands)
    _register_simulate(commands)
    _register_detector(commands)
    table = commands.add_parser("table", help="print a quantize.csv as Markdown")
    table.add_argument("csv", type=INPUT_FILE)
    table.set_defaults(run=_table)


def _register_quantize(commands: Commands, counter: InstructionCounter | None) -> None:
    parser = commands.add_parser("quantize", help="the fastest INT8 that keeps its accuracy", description=_QUANTIZE)
    _add_source(parser)
    add_out(parser, ARTIFACTS, "where a folder is made for a checkpoint or .onnx", OUTPUT_FOLDER)
    _add_calibration(parser)
    parser.add_argument("--target", type=target_name, help="x86, armv8, armv8.2-dot or jetson-trt (x86)")
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
    parser.add_argument(
        "--max-drop", type=number(0, 100), metavar="POINTS", help="points of accuracy that INT8 may lose (0.3)"
    )
    parser.add_argument(
        "--min-agreement", type=number(0, 100), metavar="PERCENT", help="faces with the same top class as float (98)"
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
    parser.add_argument(
        "--save-calibration", type=OUTPUT_FILE, metavar="FILE", help="write the calibration cache there"
    )
    parser.set_defaults(run=_run, counter=counter)


def _run(options: argparse.Namespace) -> None:
    from quantize import session

    session.run_search(options, options.counter)


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
    from quantize.curve import compare_all

    compare_all(options.checkpoints, options.faces, options.artifacts, options.count, options.out)
    print(options.out.read_text(), end="")


def _simulate(options: argparse.Namespace) -> None:
    from quantize import simulate

    files = [simulate.Rates(agreement / 100, drop) for agreement, drop in options.rates]
    found = simulate.simulate(options.float, files, options.faces, options.split, options.draws)
    simulate.write(found, options.out)
    print(simulate.table(options.out))


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=artifact_path, help="name or folder in artifacts/, checkpoint, or float .onnx with a contract"
    )
    parser.add_argument("--checkpoint", type=checkpoint_path, help="refuse artifacts that were exported from another")
    help = "face cache of `make data`, a folder with one sub-folder of images a class, or a CSV of path,label"
    add_faces(parser, help, optional=True)


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration", type=Path, help="calibration cache used without faces (models/NAME/calibration.json)"
    )
    parser.add_argument("--count", type=positive, help="calibration faces (512)")
    add_seed(parser, "which faces (0)")
    parser.add_argument(
        "--percentile", type=float, metavar="P", help="of the faces' own extremes, what a quantile range spans (99)"
    )


def _register_inspect(commands: Commands) -> None:
    parser = commands.add_parser("inspect", help="an INT8 .onnx layer by layer: noise, and what to leave float")
    _add_source(parser)
    _add_calibration(parser)
    parser.add_argument("--plot", type=OUTPUT_FILE, metavar="PNG", help="draw the ten worst layers there")
    parser.set_defaults(run=_inspect)


def _register_curve(commands: Commands) -> None:
    parser = commands.add_parser("calibration-curve", help="agreement with float by number of calibration faces")
    _add_source(parser)
    parser.add_argument("--counts", default="32,64,128,256,512,1024,2048", type=counts, metavar="N,N,...")
    parser.add_argument("--seeds", default="0,1,2", type=seeds, metavar="N,N,...")
    parser.add_argument(
        "--artifacts", type=OUTPUT_FOLDER, default=ARTIFACTS, help="where a folder is made for a checkpoint"
    )
    add_out(parser, MEASURED / "calibration.csv", "CSV to write, with a .png")
    parser.set_defaults(run=_curve)


def _register_compare(commands: Commands) -> None:
    parser = commands.add_parser("compare-int8", help="what INT8 costs several networks, past the gate")
    parser.add_argument("checkpoints", type=checkpoint_path, nargs="+", help=".safetensors files")
    add_faces(parser)
    parser.add_argument("--artifacts", type=OUTPUT_FOLDER, default=Path("build/compared"), help="folder of their files")
    parser.add_argument("--count", type=positive, help="calibration faces (512)")
    parser.add_argument("--out", type=OUTPUT_FILE, required=True, help="CSV to write")
    parser.set_defaults(run=_compare)


def _register_simulate(commands: Commands) -> None:
    parser = commands.add_parser("simulate-gate", help="how often the gate passes a file, by number of faces")
    parser.add_argument("float", type=INPUT_FILE, help="the float model")
    parser.add_argument(
        "--rates",
        type=number(-100, 100),
        nargs=2,
        action="append",
        required=True,
        metavar=("AGREEMENT", "DROP"),
        help="a file's top-1 agreement with float in percent and points of accuracy it loses (may be repeated)",
    )
    add_faces(parser)
    parser.add_argument("--split", default="PublicTest", help="split the faces are drawn from (PublicTest)")
    parser.add_argument("--draws", type=positive, default=400, help="times each number of faces is drawn (400)")
    add_out(parser, MEASURED / "gate.csv")
    parser.set_defaults(run=_simulate)


def _register_detector(commands: Commands) -> None:
    parser = commands.add_parser("make-detector", help="make the runtime's INT8 face detector of the published YuNet")
    parser.add_argument(
        "canvases",
        nargs="*",
        type=_canvas,
        metavar="WIDTHxHEIGHT",
        help="make float and INT8 files of this size, as 160x128, in place of the runtime's; multiples of 32",
    )
    parser.add_argument("--source", type=INPUT_FILE, metavar="FILE", help="published .onnx (default: the fetched one)")
    parser.add_argument(
        "--pictures",
        type=INPUT,
        nargs="+",
        default=_PICTURES,
        metavar="PATH",
        help="photographs and videos, or folders of them, to calibrate on: those with one face are used",
    )
    add_out(parser, ARTIFACTS / "detectors", "folder for files of canvases", OUTPUT_FOLDER)
    parser.add_argument(
        "--or-mediapipe", action="store_true", help="end well, saying so, where the published file cannot be had"
    )
    parser.set_defaults(run=_detector)


def _canvas(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(sides) < 32 or any(side % 32 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r}: expected WIDTHxHEIGHT in multiples of 32, as 160x128")
    return sides


def _detector(options: argparse.Namespace) -> None:
    from quantize.detector import job

    job.make(options)
