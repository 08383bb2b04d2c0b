"""`python -m quantize artifacts/NAME`: INT8 ONNX and TFLite, and quantize.csv with what was measured.

Exit codes: 0 both models pass the gate, 1 one does not (see quantize.csv), 2 bad usage or nothing to calibrate with,
4 float models or calibration cache refused.
"""

import argparse
import sys
from pathlib import Path

from fer_edge.errors import run_reporting


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("quantize", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from quantize import pipeline, report
    from quantize.calibration import Wanted
    from quantize.gate import Limits

    artefacts = pipeline.open_artefacts(options.artefacts)
    if options.checkpoint is not None:
        pipeline.require_checkpoint(artefacts, options.checkpoint)
    cache = options.cache or Path("models") / artefacts.name / "calibration.json"
    calibration = pipeline.calibration_for(artefacts, Wanted(options.faces, cache, options.count, options.seed))
    origin = options.faces if options.faces.exists() else f"{cache}, as there are no faces at {options.faces}"
    print(f"calibrated on {calibration.description()} (from {origin})", flush=True)
    candidates = pipeline.quantize(artefacts, calibration, pipeline.evaluation_for(artefacts, options.faces), Limits())
    print(f"measured on {candidates[0].agreement_n} images of {candidates[0].agreement_on}, one thread")
    print(report.table(candidates))
    pipeline.require_passed(candidates)
    if options.save_cache is not None:
        calibration.save(options.save_cache)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artefacts", type=Path, help="a folder `make export` wrote, such as artifacts/fer-base")
    parser.add_argument(
        "--faces", type=Path, default=Path("data/fer2013.npz"), help="face cache written by `make data`, where it is"
    )
    parser.add_argument(
        "--cache", type=Path, help="calibration cache used without faces (models/NAME/calibration.json)"
    )
    parser.add_argument("--checkpoint", type=Path, help="refuse artefacts that were exported from another file")
    parser.add_argument("--count", type=int, help="calibration faces (512)")
    parser.add_argument("--seed", type=int, help="which faces (0)")
    parser.add_argument("--save-cache", type=Path, metavar="PATH", help="write the calibration cache there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
