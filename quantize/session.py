"""What the command line asks for, put together: sources, faces, calibration, and one of the three jobs."""

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import sha256_of

from export.artefacts import model_path, recipe_path
from quantize import curve, inspection, report, search, source, tflite_ptq
from quantize.calibration import Wanted, calibrate
from quantize.candidates import RESULT, Made, Materials, load
from quantize.errors import GateError
from quantize.faces import Evaluation, open_faces
from quantize.gate import FAILED, Limits, limits_for, misses
from quantize.qdq_graph import count_convs
from quantize.recipes import TARGETS, Recipe, Replay, Target, load_replay, recipes_for
from quantize.source import FloatModels
from quantize.work import WORK_FOLDER


@dataclass(frozen=True)
class Inspected:
    """An INT8 .onnx to look into, the recipe it was made by, and what its shortened tensor names stand for.

    `replay` is what it was calibrated with; None for one that was refused.
    """

    path: Path
    recipe: Recipe
    names: dict[str, str]
    replay: Replay | None = None


def run_search(options: argparse.Namespace) -> None:
    """`python -m quantize SOURCE`. Raises GateError where a kind of file has no model that passed."""
    replay = _replayed(options)
    target, limits = _target(options.target or "x86"), limits_for(options.max_drop)
    recipes = _recipes(options, target, replay)
    models = _open(options)
    recipes = _with_known_layers(recipes, models)
    materials = _materials(options, models, target, limits, recipes)
    outcome = search.search(materials, search.Plan(recipes, options.force, options.instructions))
    for name, need in outcome.left_out:
        print(f"left out {name}: needs {need}")
    first = outcome.rows[0]
    print(f"measured on {first.agreement_n} images of {first.agreement_on}, one thread, for {target.name}")
    print(report.table(outcome.rows))
    if options.save_cache is not None and not (outcome.refused or outcome.unmade):
        materials.calibration.save(options.save_cache)
    if outcome.refused or outcome.unmade:
        raise GateError(_refusal(outcome, materials))


def run_inspection(options: argparse.Namespace) -> None:
    """`python -m quantize inspect SOURCE`. Raises ModelError where there is no INT8 .onnx with its recipe."""
    folder, made = _int8_model(options.source)
    models = source.open_artefacts(folder)
    target, limits = TARGETS["x86"], Limits()
    if made.replay is not None and options.faces.exists():
        _as_made(options, made.replay)
    materials = _materials(options, models, target, limits, (made.recipe,))
    found = _inspected(made, materials)
    print(inspection.table(found))
    if options.plot is not None:
        inspection.plot(found, options.plot, f"{models.name}, {made.recipe.name}")
        print(f"plot  {options.plot}")


def run_curve(options: argparse.Namespace) -> None:
    """`python -m quantize curve SOURCE`. Raises UsageError where there are no faces."""
    models = _open(options)
    faces = open_faces(options.faces, models.classifiers["onnx"].contract, 1, 0)
    if faces is None:
        raise UsageError(f"no faces at {options.faces}. Run `make data FER2013=fer2013.csv` first.")
    recipe = recipes_for(TARGETS["x86"], "default")[0]
    points = curve.measure(models, faces, recipe, options.counts, options.seeds)
    curve.write(points, options.csv)
    print(f"{options.csv} and {options.csv.with_suffix('.png')}: {len(points)} models")


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(f"target {name!r} is unknown; there are: {', '.join(TARGETS)}.")
    return TARGETS[name]


def _replayed(options: argparse.Namespace) -> Replay | None:
    """What --recipe names; what that was made with stands for what the command line leaves open."""
    if options.recipe is None:
        return None
    if options.recipes != "default":
        raise UsageError("--recipe replays one recipe, --recipes chooses among the known. Give one of them.")
    replay = load_replay(options.recipe)
    _as_made(options, replay)
    options.target = replay.target if options.target is None else options.target
    options.max_drop = replay.max_drop_points if options.max_drop is None else options.max_drop
    return replay


def _as_made(options: argparse.Namespace, replay: Replay) -> None:
    """Calibrate as a model was calibrated, where the command line does not say otherwise."""
    for name in ("count", "seed", "percentile"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(replay, name))


def _recipes(options: argparse.Namespace, target: Target, replay: Replay | None) -> tuple[Recipe, ...]:
    chosen = recipes_for(target, options.recipes) if replay is None else (replay.recipe,)
    return tuple(replace(recipe, exclude=(*recipe.exclude, *options.exclude)) for recipe in chosen)


def _with_known_layers(recipes: Sequence[Recipe], models: FloatModels) -> tuple[Recipe, ...]:
    """The recipes, each with the excluded layers its own kind of file has: a recipe says what was done.

    Raises UsageError for a name that no layer of either model has: it would exclude nothing, unnoticed.
    """
    layers = {"onnx": {node.name for node in models.graph.body.graph.node}}
    if "tflite" in models.classifiers:
        layers["tflite"] = tflite_ptq.layer_names(models.tflite.content)
    known = set().union(*layers.values())
    for name in dict.fromkeys(name for recipe in recipes for name in recipe.exclude):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else "`make inspect` lists them."
            raise UsageError(f"--exclude {name}: {models.name} has no such layer; {hint}")
        absent = [f".{kind}" for kind, names in layers.items() if name not in names]
        if absent:
            print(f"{name} is no layer of the {', '.join(absent)}, where nothing is excluded for it")
    return tuple(
        replace(recipe, exclude=tuple(name for name in recipe.exclude if name in layers.get(recipe.suffix, ())))
        for recipe in recipes
    )


def _open(options: argparse.Namespace) -> FloatModels:
    models = source.open_source(options.source, options.out)
    if options.checkpoint is not None:
        source.require_checkpoint(models, options.checkpoint)
    return models


def _materials(
    options: argparse.Namespace, models: FloatModels, target: Target, limits: Limits, recipes: tuple[Recipe, ...]
) -> Materials:
    cache = options.cache or Path("models") / models.name / "calibration.json"
    quantile = None if options.percentile is None else options.percentile / 100
    wanted = Wanted(options.faces, cache, options.count, options.seed, quantile)
    materials = gather(models, wanted, recipes, target, limits, _checkpoint(options, models))
    origin = options.faces if materials.faces is not None else f"{cache}, as there are no faces at {options.faces}"
    print(f"calibrated on {materials.calibration.description()} (from {origin})", flush=True)
    return materials


def gather(
    models: FloatModels,
    wanted: Wanted,
    recipes: tuple[Recipe, ...],
    target: Target,
    limits: Limits,
    checkpoint: Path | None = None,
) -> Materials:
    """What `recipes` work with: faces, calibration, and the images that judge, golden ones where none has a truth."""
    faces = open_faces(wanted.faces, models.classifiers["onnx"].contract, wanted.count, wanted.seed)
    methods = tuple(recipe.ranges for recipe in recipes)
    calibration = calibrate(models, None if faces is None else faces.calibration, wanted, methods)
    judges = None if faces is None else faces.evaluation
    evaluation = Evaluation(models.golden if judges is None else judges.images, judges)
    return Materials(models, calibration, faces, evaluation, checkpoint, target, limits)


def _checkpoint(options: argparse.Namespace, models: FloatModels) -> Path | None:
    """The checkpoint the float models came from: the one named, the source itself, or the committed one."""
    named = options.source if options.source.suffix == ".safetensors" else options.checkpoint
    path = named or Path("models") / models.name / f"{models.name}.safetensors"
    return path if path.is_file() and sha256_of(path) == models.checkpoint_sha256 else None


def _refusal(outcome: search.Outcome, materials: Materials) -> str:
    reasons = "; ".join(
        f"{row.engine}, {row.recipe}: {row.verdict.removeprefix(FAILED)}"
        for row in (*(entry.row for entry in outcome.refused), *outcome.unmade)
    )
    hints = "".join(
        f" Of the .onnx, {inspection.advice(_inspected(entry.made, materials).exclusion)}"
        for entry in outcome.refused
        if entry.made.recipe.suffix == "onnx" and ("agreement" in entry.row.verdict or "drop" in entry.row.verdict)
    )
    kept = f"Written: {', '.join(outcome.written)}." if outcome.written else "No INT8 model was written."
    return f"{reasons}. {kept}{hints} --max-drop allows more, --force writes it all the same."


def _inspected(made: Inspected | Made, materials: Materials) -> inspection.Inspection:
    graph = materials.models.graph
    images = materials.evaluation.images if materials.faces is None else materials.faces.calibration.images
    images = images[: inspection.FACES]
    layers = inspection.layers_of(graph, inspection.with_names(made.path, made.names), images)
    ranges = materials.calibration.ranges["onnx"]
    known = ranges.get(made.recipe.ranges, ranges["quantile"])
    exclusion = inspection.exclusion(graph, layers, known, made.recipe, images)
    # Signed activations are for Arm, and x86 would leave most of their convolutions unfused.
    convs = count_convs(made.path, as_on_arm=made.recipe.activations != "u8")
    return inspection.Inspection(layers, convs, exclusion)


def _int8_model(path: Path) -> tuple[Path, Inspected]:
    """The artefact folder and the INT8 .onnx meant by `path`: a file, or a folder's winner or best refused one."""
    if path.is_dir():
        folder = path.resolve()
        winner = model_path(folder, folder.name, "int8", "onnx")
        if winner.is_file():
            return folder, _with_recipe(winner)
        best = _best_refused(folder)
        if best is None:
            raise ModelError(f"{path}: no INT8 .onnx, neither written nor refused. Make one with `make quantize`.")
        return folder, Inspected(best.path, best.recipe, best.names)
    if (path.parent / RESULT).is_file() and path.suffix == ".onnx":
        made = load(path.parent)
        return path.resolve().parents[2], Inspected(made.path, made.recipe, made.names)
    return path.resolve().parent, _with_recipe(path)


def _best_refused(folder: Path) -> Made | None:
    """Of the last search's .onnx candidates, made from the float model here, the one the gate has least against."""
    own = sha256_of(model_path(folder, folder.name, "fp32", "onnx"))
    kept = [load(result.parent) for result in (folder / WORK_FOLDER).glob(f"*/{RESULT}")]
    refused = [made for made in kept if made.recipe.suffix == "onnx" and made.float_sha256 == own]
    verdicts = report.verdicts(folder / report.CSV_NAME)
    return min(
        refused,
        key=lambda made: (misses(verdicts.get(sha256_of(made.path), FAILED)), -made.score.agreement),
        default=None,
    )


def _with_recipe(path: Path) -> Inspected:
    recipe = recipe_path(path)
    if path.suffix != ".onnx" or not path.is_file() or not recipe.is_file():
        raise ModelError(
            f"{path}: expected an INT8 .onnx with {recipe.name} beside it, as `make quantize` writes them."
        )
    replay = load_replay(recipe)
    return Inspected(path, replay.recipe, replay.names, replay)
