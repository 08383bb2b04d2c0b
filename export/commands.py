"""`export`: a checkpoint as float ONNX and TFLite with contracts, golden vectors and checksums.

Exit codes: 0 exported, 1 an exported file differs from torch, 2 bad usage or an unwritable folder, 4 not a checkpoint.
"""

import argparse

from train.command_files import OUTPUT_FOLDER
from train.command_line import ARTIFACTS, Commands, add_out, checkpoint_path


def register(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("export", help="a checkpoint as float ONNX and TFLite", description=__doc__)
    parser.add_argument("checkpoint", type=checkpoint_path, help="name of a model in models/, or a .safetensors file")
    parser.add_argument(
        "--attached", action="store_true", help="an identity_invariant that answers with the identity beside it"
    )
    add_out(parser, ARTIFACTS, "folder of the model folders", OUTPUT_FOLDER)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from export import pipeline

    report = pipeline.export(options.checkpoint, options.out, attached=options.attached)
    for model in report.models:
        print(f"{model.path}  {model.size_kb:.0f} kB  differs from torch by at most {model.difference:.1e}")
    for path in report.removed:
        print(f"{path} removed: it was made from another checkpoint. Make it again with `make quantize`.")
