"""Which INT8 .onnx `inspect` is asked about, a published or a refused one, and looking into it."""

from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ModelError
from fer_edge.files import sha256_of

from export.artifacts import model_path, recipe_path
from quantize import inspection
from quantize.backends import ranges_for
from quantize.materials import Materials
from quantize.qdq_graph import count_convs
from quantize.recipes import Recipe
from quantize.replay import Replay, load_replay
from quantize.sensitivity import Choice
from quantize.trial import RECORD, Trial, load_trial, onnx_of
from quantize.work import WORK_FOLDER, WorkFolder


@dataclass(frozen=True)
class Inspected:
    """An INT8 .onnx to look into, how it was made, and what its shortened tensor names stand for.

    `replay` is what it was calibrated with; None for one that was refused.
    """

    path: Path
    recipe: Recipe
    choice: Choice
    names: dict[str, str]
    replay: Replay | None = None


def inspect(made: Inspected, materials: Materials) -> inspection.Inspection:
    """Every layer against float, on images that calibrated, and the layer to leave float. Raises ModelError."""
    graph = materials.models.graph
    images = materials.images[: inspection.FACES]
    layers = inspection.layers_of(graph, onnx_of(made.path, made.names), images)
    if not layers:
        raise ModelError(f"{made.path}: none of its tensors has a name of the float model's. Inspect another recipe's.")
    known = materials.calibration.ranges["onnx"]
    ranges = ranges_for("onnx", made.recipe, materials) if made.recipe.ranges in known else known["quantile"]
    exclusion = inspection.exclusion(graph, layers, ranges, made.recipe, made.choice, images)
    # Signed activations are for Arm, and x86 would leave most of their convolutions unfused.
    convs = count_convs(made.path, as_on_arm=made.recipe.activations != "u8")
    return inspection.Inspection(layers, convs, exclusion)


def of_trial(trial: Trial) -> Inspected:
    """A trial of the work folder."""
    return Inspected(trial.path, trial.recipe, trial.choice, trial.names)


def int8_model(path: Path) -> tuple[Path, Inspected]:
    """The artifact folder and the INT8 .onnx meant by `path`: a file, or a folder's winner or best refused one.

    Raises ModelError where there is none with its recipe.
    """
    if path.is_dir():
        folder = path.resolve()
        winner = model_path(folder, folder.name, "int8", "onnx")
        if winner.is_file():
            return folder, _with_recipe(winner)
        best = _best_refused(folder)
        if best is None:
            raise ModelError(f"{path}: no INT8 .onnx, neither written nor refused. Make one with `make quantize`.")
        return folder, of_trial(best)
    if (path.parent / RECORD).is_file() and path.suffix == ".onnx":
        return path.resolve().parents[2], of_trial(load_trial(path.parent))
    return path.resolve().parent, _with_recipe(path)


def _best_refused(folder: Path) -> Trial | None:
    """The .onnx trial that the last search had least against, if it was made from the float model here."""
    source = model_path(folder, folder.name, "fp32", "onnx")
    if not source.is_file():
        raise ModelError(f"{folder}: no float .onnx, and a .tflite alone cannot be inspected layer by layer.")
    key = WorkFolder(folder / WORK_FOLDER).refused("onnx")
    own = sha256_of(source)
    trial = None if key is None else load_trial(folder / WORK_FOLDER / key)
    return trial if trial is not None and trial.float_sha256 == own else None


def _with_recipe(path: Path) -> Inspected:
    recipe = recipe_path(path)
    if path.suffix != ".onnx" or not path.is_file() or not recipe.is_file():
        raise ModelError(
            f"{path}: expected an INT8 .onnx with {recipe.name} beside it, as `make quantize` writes them."
        )
    replay = load_replay(recipe)
    return Inspected(path, replay.recipe, Choice(replay.recipe.integer or ()), replay.names, replay)
