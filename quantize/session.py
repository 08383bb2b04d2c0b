"""Jobs of the command line: sources, faces, calibration, and one of the jobs."""

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.files import sha256_of

from quantize import curve, inspection, onnx_ptq, report, search, source, tflite_graph
from quantize.calibration import CalibrationOptions
from quantize.counter import InstructionCounter
from quantize.errors import GateError
from quantize.evaluate import float_predictions
from quantize.faces import open_faces
from quantize.gate import Limits, limits_for
from quantize.inspected import inspect, int8_model, of_trial
from quantize.materials import Materials, gather
from quantize.recipes import DEFAULT, DEFAULT_TARGET, TARGETS, TRAINED, Recipe, Target, recipes_for
from quantize.replay import Replay, load_replay
from quantize.soundness import require_sound
from quantize.source import FloatModels
from quantize.work import WORK_FOLDER, WorkFolder
from train.command_line import MODELS

# Three hundred steps of 64 faces then take about a quarter of an hour on two cores.
_TRAINED_MMAC = 300


def run_search(options: argparse.Namespace, counter: InstructionCounter | None = None) -> None:
    """`fer-edge-lab quantize SOURCE`. Raises GateError where a kind of file has no INT8 model to publish.

    `counter` counts instructions on the target's core; without one an Arm target's speed is not judged.
    """
    replay = _replayed(options)
    target = _target(options.target or DEFAULT_TARGET)
    limits = limits_for(options.max_drop, options.min_agreement)
    models = source.open_source(options.source, options.out)
    if options.checkpoint is not None:
        source.require_checkpoint(models, options.checkpoint)
    rungs = tuple(_with_known_layers(rung, models) for rung in _rungs(options, target, replay))
    if replay is None and options.recipes == DEFAULT:
        rungs = _without_long_training(rungs, models)
    materials = _materials(options, models, target, limits, tuple(recipe for rung in rungs for recipe in rung))
    work = WorkFolder(models.folder / WORK_FOLDER)
    require_sound(materials, {suffix: float_predictions(suffix, materials, work) for suffix in models.classifiers})
    plan = search.Plan(rungs, accept_too_few=options.accept_too_few, force=options.force)
    outcome = search.search(materials, plan, counter)
    _print_outcome(outcome, materials, target)
    if outcome.refused or outcome.unmade:
        raise GateError(_refusal(outcome, materials))
    if options.save_calibration is not None:
        materials.calibration.save(options.save_calibration)


def _print_outcome(outcome: search.Outcome, materials: Materials, target: Target) -> None:
    for name, need in outcome.left_out:
        print(f"left out {name}: needs {need}")
    for name, other in outcome.same_as:
        print(f"left out {name}: makes the same graph as {other}")
    if materials.models.contract.input.channels == 3 and materials.evaluation.images.ndim == 3:
        print("grey faces calibrate and judge a model of colour; a folder of coloured ones would say more")
    first = outcome.rows[0]
    print(f"measured on {first.agreement_n} images of {first.agreement_on}, one thread, for {target.name}")
    print(report.table(outcome.rows))
    for entry in outcome.deployments:
        print(f"deploy on {entry.target}: {entry.file} ({entry.reason})")


def run_inspection(options: argparse.Namespace) -> None:
    """`fer-edge-lab inspect SOURCE`. Raises ModelError where there is no INT8 .onnx with its recipe."""
    folder, made = int8_model(options.source)
    models = source.open_artifacts(folder)
    if made.replay is not None and options.faces.exists():
        _as_made(options, made.replay)
    materials = _materials(options, models, TARGETS[DEFAULT_TARGET], Limits(), (made.recipe,))
    found = inspect(made, materials)
    print(inspection.table(found))
    if options.plot is not None:
        inspection.plot(found, options.plot, f"{models.name}, {made.recipe.name}")
        print(f"plot  {options.plot}")


def run_curve(options: argparse.Namespace) -> None:
    """`fer-edge-lab calibration-curve SOURCE`. Raises UsageError where there are no faces."""
    models = source.open_source(options.source, options.artifacts)
    faces = open_faces(options.faces, models.contract, 1, 0)
    if faces is None:
        raise UsageError(f"no faces at {options.faces}. Run `make data FER2013=fer2013.csv` first.")
    faces.training.balanced(max(options.counts), 0)  # refused now, not after minutes
    recipe = recipes_for(TARGETS[DEFAULT_TARGET], "default")[0][0]
    points = curve.measure(models, faces, recipe, options.counts, options.seeds)
    curve.write(points, options.out)
    print(f"{options.out} and {options.out.with_suffix('.png')}: {len(points)} models")


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(f"target {name!r} is unknown; there are: {', '.join(TARGETS)}.")
    return TARGETS[name]


def _replayed(options: argparse.Namespace) -> Replay | None:
    """Load the recipe of --recipe; the options it was made with fill those the command line leaves open."""
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


def _rungs(options: argparse.Namespace, target: Target, replay: Replay | None) -> tuple[tuple[Recipe, ...], ...]:
    chosen = recipes_for(target, options.recipes) if replay is None else ((replay.recipe,),)
    return tuple(
        tuple(replace(recipe, exclude=(*recipe.exclude, *options.exclude)) for recipe in rung) for rung in chosen
    )


def _without_long_training(
    rungs: tuple[tuple[Recipe, ...], ...], models: FloatModels
) -> tuple[tuple[Recipe, ...], ...]:
    """The rungs without quantization-aware training where the convolutions are so many that it takes an hour."""
    if "onnx" not in models.classifiers:
        return rungs
    million = sum(onnx_ptq.convolution_layers(models.graph).values()) / 1e6
    if million <= _TRAINED_MMAC:
        return rungs
    names = ",".join(recipe.name for rung in rungs for recipe in rung if recipe.backend in TRAINED)
    print(
        f"not trained on: {million:.0f} million multiplications a face, more than {_TRAINED_MMAC}. "
        f"--recipes {names} does it all the same."
    )
    return tuple(tuple(recipe for recipe in rung if recipe.backend not in TRAINED) for rung in rungs)


def _with_known_layers(recipes: Sequence[Recipe], models: FloatModels) -> tuple[Recipe, ...]:
    """The recipes, each with the excluded layers its own kind of file has: a recipe says what was done.

    Raises UsageError for a name that no layer of either model has: it would exclude nothing, unnoticed.
    """
    layers = {}
    if "onnx" in models.classifiers:
        layers["onnx"] = {node.name for node in models.graph.body.graph.node}
    if "tflite" in models.classifiers:
        layers["tflite"] = tflite_graph.layer_names(models.tflite.content)
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


def _materials(
    options: argparse.Namespace, models: FloatModels, target: Target, limits: Limits, recipes: tuple[Recipe, ...]
) -> Materials:
    cache = options.calibration or MODELS / models.name / "calibration.json"
    quantile = None if options.percentile is None else options.percentile / 100
    calibration_options = CalibrationOptions(options.faces, cache, options.count, options.seed, quantile)
    materials = gather(models, calibration_options, recipes, target, limits, _checkpoint(options, models))
    origin = options.faces if materials.faces is not None else f"{cache}, as there are no faces at {options.faces}"
    print(f"calibrated on {materials.calibration.description()} (from {origin})", flush=True)
    return materials


def _checkpoint(options: argparse.Namespace, models: FloatModels) -> Path | None:
    """The checkpoint the float models came from: the one named, the source itself, or the committed one."""
    named = options.source if options.source.suffix == ".safetensors" else options.checkpoint
    path = named or MODELS / models.name / f"{models.name}.safetensors"
    return path if path.is_file() and sha256_of(path) == models.checkpoint_sha256 else None


def _refusal(outcome: search.Outcome, materials: Materials) -> str:
    reasons = [f"{judged.trial.recipe.name}: {report.verdict_text(judged.verdict)}" for judged in outcome.refused] + [
        f"{failure.recipe.name} could not be made: {failure.reason}" for failure in outcome.unmade
    ]
    kept = f"Written: {', '.join(outcome.written)}." if outcome.written else "No INT8 model was written."
    hints = "".join(
        f" Of the .onnx, {inspection.advice(inspect(of_trial(judged.trial), materials).exclusion)}"
        for judged in outcome.refused
        if judged.trial.path.suffix == ".onnx" and judged.verdict.failed and _is_about_loss(judged)
    )
    return f"{'; '.join(reasons)}. {kept}{hints} {_advice(outcome)}"


def _is_about_loss(judged: search.Judged) -> bool:
    return any(miss.interval is not None and miss.unit != "ratio" for miss in judged.verdict.misses)


def _advice(outcome: search.Outcome) -> str:
    """Advise how a model would pass, by what kept it out."""
    misses = [miss for judged in outcome.refused for miss in judged.verdict.misses]
    found = []
    if any(not miss.decided for miss in misses) and not any(judged.verdict.failed for judged in outcome.refused):
        needed = [judged.verdict.faces for judged in outcome.refused]
        many = max((n for n in needed if n is not None), default=None)
        more = "more labelled faces" if many is None else f"about {many:,} labelled faces to judge on"
        found.append(
            f"Give {more} (half of a folder calibrates), or --accept-too-few to write what keeps every limit on these."
        )
    if any(miss.decided and "drop" in miss.name for miss in misses):
        found.append("--max-drop allows more.")
    if any(miss.decided and miss.name == "agreement" for miss in misses):
        found.append("--min-agreement allows less.")
    return " ".join((*found, "--force writes the best all the same."))
