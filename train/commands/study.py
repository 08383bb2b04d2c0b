"""Look into finished models: each study prints a table and writes a CSV file."""

import argparse

from fer_edge.arguments import positive
from fer_edge.errors import UsageError

from train.command_files import INPUT_FILE
from train.command_line import MEASURED, Commands, add_faces, add_out, add_seed, add_split, checkpoint_path
from train.data import cache


def register(commands: Commands) -> None:
    """Add the commands to the parser."""
    _register_looks(commands)
    _register_comparisons(commands)


def _register_looks(commands: Commands) -> None:
    robustness = commands.add_parser("robustness", help="accuracy of models on PublicTest under the noise ladder")
    robustness.add_argument("models", type=checkpoint_path, nargs="+", help="the one to compare with first")
    add_seed(robustness, "of the noise", 0)
    add_faces(robustness)
    add_out(robustness, MEASURED / "robustness.csv")
    robustness.set_defaults(run=_robustness)

    probe = commands.add_parser("probe", help="how much of the attributes a probe finds in a model's features")
    probe.add_argument(
        "models", type=checkpoint_path, nargs="+", help="checkpoints (.safetensors); the one without splitting first"
    )
    probe.add_argument("--kind", default="linear", help="linear (default), or two-layer")
    probe.add_argument("--attributes", default="photometric", help="photometric, or a table ending in .npz")
    add_faces(probe)
    add_out(probe, MEASURED / "probe.csv")
    probe.set_defaults(run=_probe)

    maps = commands.add_parser("maps", help="how near a saliency_cnn's maps are to gaze, or to what stands in for it")
    maps.add_argument("models", type=checkpoint_path, nargs="+", help="checkpoints (.safetensors)")
    maps.add_argument(
        "--teacher", default="", help="whose evidence stands in for gaze (the one the model learned from)"
    )
    add_faces(maps)
    add_out(maps, MEASURED / "maps.csv")
    maps.set_defaults(run=_maps)

    overlay = commands.add_parser("overlay", help="draw where a saliency_cnn looks over a picture of a face")
    overlay.add_argument("model", type=checkpoint_path, help="its checkpoint (.safetensors)")
    overlay.add_argument("picture", type=INPUT_FILE, help="a picture of one face, cropped to it")
    add_out(overlay, "overlay.png")
    overlay.set_defaults(run=_overlay)


def _register_comparisons(commands: Commands) -> None:
    copies = commands.add_parser("copies", help="accuracy on the faces whose copies are in Training, and on the others")
    copies.add_argument("models", type=checkpoint_path, nargs="+", help="finished models, as for evaluate")
    add_split(copies)
    add_faces(copies)
    add_out(copies, MEASURED / "copies.csv")
    copies.set_defaults(run=_copies)

    ensemble = commands.add_parser(
        "ensemble", help="accuracy on PublicTest of every small group of models, as teachers"
    )
    ensemble.add_argument("models", type=checkpoint_path, nargs="+", help="finished models of one task")
    ensemble.add_argument("--largest", type=positive, default=3, help="models in a group, at most")
    add_faces(ensemble)
    add_out(ensemble, MEASURED / "ensemble.csv")
    ensemble.set_defaults(run=_ensemble)

    labels = commands.add_parser(
        "labelsets", help="accuracy of models of seven or eight expressions on both label sets"
    )
    labels.add_argument("models", type=checkpoint_path, nargs="+", help="finished models, as for evaluate")
    add_split(labels)
    add_faces(labels)
    add_out(labels, MEASURED / "labelsets.csv")
    labels.set_defaults(run=_labelsets)


def _robustness(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import robustness

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = robustness.measure(candidates, cache.load_any(options.faces), seed=options.seed)
    robustness.write(options.out, rows)
    robustness.plot(rows, options.out.with_suffix(".png"))
    print(robustness.table(rows))


def _probe(options: argparse.Namespace) -> None:
    from train.fit import attributes
    from train.studies import probe

    source, data = attributes.open_source(options.attributes), cache.load_any(options.faces)
    if options.kind not in probe.PROBES:
        raise UsageError(f"--kind is {options.kind!r}, expected {' or '.join(probe.PROBES)}.")
    rows = [row for path in options.models for row in probe.measure(path, data, source, options.kind)]
    probe.write(options.out, rows)
    print(probe.table(rows))


def _maps(options: argparse.Namespace) -> None:
    from train.studies import maps

    data = cache.load_any(options.faces)
    rows = [row for path in options.models for row in maps.measure(path, data, options.teacher)]
    maps.write(options.out, rows)
    print(maps.table(rows))


def _overlay(options: argparse.Namespace) -> None:
    from train.studies import overlay

    overlay.write(options.model, options.picture, options.out)
    print(options.out)


def _copies(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import copies

    data = cache.load(options.faces)
    rows = copies.measure([evaluate.open_candidate(path) for path in options.models], data, options.split)
    copies.write(options.out, rows)
    print(copies.table(rows))


def _ensemble(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import ensemble

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = ensemble.measure(candidates, cache.load_any(options.faces), largest=options.largest)
    ensemble.write(options.out, rows)
    print(ensemble.table(rows))


def _labelsets(options: argparse.Namespace) -> None:
    from train.fit import evaluate
    from train.studies import label_sets

    candidates = [evaluate.open_candidate(path) for path in options.models]
    rows = label_sets.measure(candidates, cache.load(options.faces), options.split)
    label_sets.write(options.out, rows)
    print(label_sets.table(rows))
