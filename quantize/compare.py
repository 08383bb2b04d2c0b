"""`python -m quantize.compare CHECKPOINT.safetensors ...`: what INT8 costs several networks, side by side.

Each is exported and quantized in a folder of its own, passed by the gate or not, and measured as `python -m quantize`
measures. Exit codes: 0 measured, 2 bad usage or nothing to calibrate with, 4 a checkpoint refused.
"""

import argparse
import csv
import sys
from pathlib import Path

from fer_edge.errors import run_reporting
from fer_edge.files import atomic_write

from quantize.report import Candidate

_FIELDS = ("model", "file", "engine", "float", "int8", "drop_points", "agreement", "n", "size_kb", "latency_ratio")


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("quantize.compare", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    rows = [
        row for path in options.checkpoints for row in compare(path, options.faces, options.artefacts, options.count)
    ]
    with atomic_write(options.out) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, _FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print(options.out.read_text(), end="")


def compare(checkpoint: Path, faces: Path, artefacts: Path, count: int | None = None) -> list[dict[str, str]]:
    """Rows of one checkpoint, an engine each; its files stay in `artefacts`/<name>. Raises what the stages raise.

    `count` is the number of calibration faces, None for the default.
    """
    from quantize import search, session
    from quantize.calibration import Wanted
    from quantize.gate import Limits
    from quantize.recipes import DEFAULT, TARGETS, recipes_for
    from quantize.source import open_source

    opened, target = open_source(checkpoint, artefacts), TARGETS["x86"]
    recipes = recipes_for(target, DEFAULT)
    wanted = Wanted(faces, opened.folder / "no-cache.json", count)
    materials = session.gather(opened, wanted, recipes, target, Limits(), checkpoint)
    # Whoever compares wants to see the worst as well, so what fails the gate is written too.
    rows = search.search(materials, search.Plan(recipes, force=True)).rows
    written = [row for row in rows if row.file]
    references = {row.engine: row for row in written if row.precision == "fp32"}
    return [_row(opened.name, references[row.engine], row) for row in written if row.precision == "int8"]


def _row(model: str, reference: Candidate, quantized: Candidate) -> dict[str, str]:
    before, after = (one.accuracy if one.accuracy is not None else one.ccc for one in (reference, quantized))
    measured = before is not None and after is not None
    return {
        "model": model,
        "file": quantized.file,
        "engine": quantized.engine,
        "float": f"{before:.4f}" if measured else "",
        "int8": f"{after:.4f}" if measured else "",
        "drop_points": f"{100 * (before - after):.2f}" if measured else "",
        "agreement": f"{quantized.agreement:.4f}",
        "n": str(quantized.agreement_n),
        "size_kb": f"{quantized.size_kb:.1f}",
        "latency_ratio": f"{quantized.latency_ratio:.3f}",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m quantize.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help=".safetensors files, such as those of an ablation")
    parser.add_argument(
        "--faces", type=Path, default=Path("data/fer2013.npz"), help="face cache written by `make data`"
    )
    parser.add_argument("--artefacts", type=Path, default=Path("build/compared"), help="folder of their files")
    parser.add_argument("--count", type=int, help="calibration faces (512)")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
