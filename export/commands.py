"""`export`: a checkpoint as float ONNX and TFLite with contracts, golden vectors and checksums.

Exit codes: 0 exported, 1 an exported file differs from torch, 2 bad usage or an unwritable folder, 4 not a checkpoint.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.errors import UsageError

from train.command_files import OUTPUT_FOLDER
from train.command_line import ARTIFACTS, Commands, add_out, checkpoint_path

if TYPE_CHECKING:
    from export.adopt.adoption import Adopted


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


def register_adopt(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("adopt", help="another person's network as an artifact folder", description=__doc__)
    add = parser.add_argument
    add("source", metavar="FILE", help=".onnx, .tflite, .pt2, or module:function")
    add("--name", help="of the model and its folder (default: the file's)")
    add("--labels", type=_names, metavar="A,B,...", help="names of the classes, in the output's order")
    add("--colour", choices=["grey", "rgb", "bgr"], help="order of the channels")
    add("--range", choices=["imagenet", "0..1", "-1..1", "0..255"], help="what the pixels are scaled to")
    add("--mean", type=_numbers, metavar="R,G,B", help="in place of --range; of pixels 0 to 1, or 0 to 255")
    add("--std", type=_numbers, metavar="R,G,B", help="as --mean, red first")
    add("--output", metavar="NAME", help="the output that holds the classes, by name or number from 0")
    add("--meaning", choices=["logits", "probabilities"], help="of the output (default: as its numbers look)")
    add("--size", type=_size, metavar="HxW", help="of a face in pixels, where the file leaves it open")
    add("--channels", type=int, choices=[1, 3], help="of a module:function (default: as its first convolution)")
    add("--weights", type=Path, metavar="FILE", help="of a module:function: .safetensors, or a .pt of tensors alone")
    add("--margin", type=float, help="of the crop around a detected face, a fraction of its side (default: ours)")
    add("--align", default="none", help="none, or a template of five points such as arcface-112")
    add("--licence", help="of the weights, such as Apache-2.0")
    add("--trained-on", default="unknown", metavar="TEXT", help="for the contract")
    help = "labelled faces: a cache of `make data`, a folder with a sub-folder a label, or a CSV of path,label"
    add("--faces", type=Path, help=help)
    add("--split", default="PublicTest", help="split of the cache (default PublicTest)")
    add_out(parser, ARTIFACTS, "folder of the model folders", OUTPUT_FOLDER)
    parser.set_defaults(run=_adopt)


def with_values_joined(words: Sequence[str]) -> list[str]:
    """`--range -1..1` as one word, which argparse would take for two flags; means may be negative too."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--range", "--mean", "--std") and re.match(r"-\d", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}, expected numbers such as 0.485,0.456,0.406") from None


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)(?:x([0-9]+))?", text)
    if not found or not 8 <= int(found[1]) <= 1024 or not 8 <= int(found[2] or found[1]) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r}, expected HEIGHTxWIDTH in pixels such as 112x112")
    return int(found[1]), int(found[2] or found[1])


def _adopt(options: argparse.Namespace) -> None:
    from export.adopt.adoption import adopt
    from export.adopt.answers import Answers
    from export.adopt.network import Hints
    from export.adopt.reading import open_network

    name = options.name
    if name is None:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(options.source.replace(":", "-")).stem)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        given = "" if options.name is not None else f", which {options.source} gives it: say --name NAME"
        raise UsageError(f"--name {name!r}: expected letters, digits, dots and dashes{given}.")
    classes = len(options.labels) if options.labels else None
    network = open_network(
        options.source, Hints(options.output, options.size, classes, options.weights, options.channels)
    )
    print(f"found {network.description()}")
    answers = Answers(
        name=name,
        labels=options.labels,
        colour=options.colour,
        range=options.range,
        mean=options.mean,
        std=options.std,
        meaning=options.meaning,
        margin=options.margin,
        align=options.align,
        licence=options.licence,
        trained_on=options.trained_on,
    )
    _print(adopt(network, answers, options.out, options.faces, options.split))


def _print(adopted: "Adopted") -> None:
    from export.artifacts import model_path

    for way in adopted.ways:
        print(f"  {way.accuracy:7.2%}  {way.feeding}")
    for suffix, most in adopted.differences.items():
        path = model_path(adopted.folder, adopted.contract.name, "fp32", suffix)
        print(f"{path}  {path.stat().st_size / 1024:.0f} kB  differs from the original by at most {most:.1e}")
    for suffix, why in adopted.refused.items():
        print(f"no {suffix}: {why}")
    for figures in adopted.contract.measured:
        print(
            f"{figures.accuracy:.2%} right of {figures.n} faces, macro-F1 {figures.macro_f1:.2%} "
            f"({figures.dataset} {figures.split}, fed {adopted.feeding})"
        )
    print(f"next: make quantize MODEL={adopted.contract.name}, or fer-edge photo.jpg --model {path}")
