"""`python -m export CHECKPOINT.safetensors`: float ONNX and TFLite with contracts, golden vectors and checksums.

Exit codes: 0 exported, 1 an exported file differs from torch, 2 bad usage or an unwritable folder, 4 not a checkpoint.
"""

import argparse
import sys
from pathlib import Path

from fer_edge.errors import run_reporting


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; the exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("export", lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from export import pipeline

    report = pipeline.export(options.checkpoint, options.out, attached=options.attached)
    for model in report.models:
        print(f"{model.path}  {model.size_kb:.0f} kB  differs from torch by at most {model.difference:.1e}")
    for path in report.removed:
        print(f"{path} removed: it was made from another checkpoint. Make it again with `make quantize`.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a .safetensors file written by `make train`")
    parser.add_argument(
        "--attached", action="store_true", help="an identity_invariant that answers with the identity beside it"
    )
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder of the model folders")
    return parser


if __name__ == "__main__":
    sys.exit(main())
