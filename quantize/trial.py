"""One trial: a recipe carried out, once. Its file has no contract yet; resumed where an earlier start built it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
from tqdm import tqdm

from fer_edge.contract import InputSpec
from fer_edge.errors import FerEdgeError, ModelError, UsageError
from fer_edge.files import sha256_of
from fer_edge.tasks import CLASSES

from quantize import backends
from quantize.graph_facts import GraphFacts, graph_facts
from quantize.materials import Materials
from quantize.qdq_graph import ConvCount
from quantize.recipes import NNCF_ACCURACY, NNCF_QAT, TRAINED, Recipe
from quantize.replay import recipe_from
from quantize.sensitivity import Choice
from quantize.work import WorkFolder, key_of

RECORD = "trial.json"


@dataclass(frozen=True)
class Trial:
    """A graph file and how it was made; never changed once it is there.

    `choice`: what measuring made integer. `names`: what shortened tensor names in the file stand for, empty for a
    .tflite. `float_sha256`: of the float file it was made from.
    """

    recipe: Recipe
    path: Path
    choice: Choice
    facts: GraphFacts
    names: dict[str, str]
    float_sha256: str

    @property
    def key(self) -> str:
        """Its folder's name in the work folder."""
        return self.path.parent.name

    def input_spec(self, spec: InputSpec) -> InputSpec:
        """Input of the file, from the float model's: raw pixels in one of three forms."""
        low, high = (-128, 127) if self.facts.input_dtype == "int8" else (0, 255)
        # An INT8 graph whose first integer is the pixel takes NCHW, also where the float one takes NHWC.
        is_nchw = tuple(self.facts.input_shape) == (spec.channels, *spec.size_px)
        layout = "NCHW" if is_nchw else "NHWC"
        return replace(spec, dtype=self.facts.input_dtype, low=low, high=high, layout=layout)


@dataclass(frozen=True)
class Failure:
    """A recipe that could not be carried out, and why."""

    recipe: Recipe
    reason: str


@dataclass(frozen=True)
class Built:
    """Trials built from recipes. `same_as`: recipes whose graph an earlier one had made already, and which."""

    trials: tuple[Trial, ...]
    failures: tuple[Failure, ...]
    same_as: tuple[tuple[Recipe, Recipe], ...]


def missing(recipe: Recipe, materials: Materials) -> str | None:
    """Name what a recipe needs and is not at hand; None where it can be carried out."""
    if recipe.suffix not in materials.models.classifiers:
        return f"a float .{recipe.suffix}"
    if recipe.needs_faces and materials.faces is None:
        return "faces, a calibration cache is not enough"
    kind = materials.models.contract.task_spec.kind
    if recipe.backend in (NNCF_ACCURACY, *TRAINED) and kind != CLASSES:
        return "a task of classes"
    if recipe.backend in TRAINED and "onnx" not in materials.models.classifiers:
        return "a float .onnx, whose weights it trains"
    if recipe.backend == NNCF_QAT and materials.models.graph.scaling is None:
        return "one mean and one deviation for all channels"
    if recipe.backend == NNCF_QAT and recipe.exclude:
        return "all layers integer: it knows the layers of --exclude by other names"
    return None


def build(recipes: Sequence[Recipe], materials: Materials, work: WorkFolder) -> Built:
    """Carry out `recipes`, each of which nothing is `missing` for; two that give the same graph are one trial.

    Raises UsageError where the work folder cannot be written or the calibration does not fit.
    """
    trials: dict[str, Trial] = {}
    failures: list[Failure] = []
    same: list[tuple[Recipe, Recipe]] = []
    # Closed before an error is printed, which would otherwise stand behind it on one line.
    with tqdm(recipes, desc="build", unit=" recipes", leave=False, delay=2) as bar:
        for recipe in bar:
            bar.set_postfix_str(recipe.name, refresh=False)
            try:
                trial = _built(recipe, materials, work)
            except UsageError:
                raise
            except Exception as error:  # a library that cannot do this network; the other recipes still may
                failures.append(Failure(recipe, reason_of(error)))
                continue
            identity = f"{recipe.variant} {trial.facts.graph_sha256}"
            if identity in trials:
                same.append((recipe, trials[identity].recipe))
            trials.setdefault(identity, trial)
    return Built(tuple(trials.values()), tuple(failures), tuple(same))


def reason_of(error: Exception) -> str:
    """The first 200 characters of what a library says, on one line."""
    text = " ".join(str(error).split())
    return (text if isinstance(error, FerEdgeError) else text[:200]) or type(error).__name__


def _built(recipe: Recipe, materials: Materials, work: WorkFolder) -> Trial:
    key = trial_key(recipe, materials)
    if work.find(key) is None:
        with work.building(key) as folder:
            path = folder / f"model.{recipe.suffix}"
            choice, names = backends.make(recipe, materials, path)
            # Signed activations fuse on Arm and not here: what counts is the graph the target runs.
            facts = graph_facts(path, as_on_arm=recipe.activations != "u8")
            origin = sha256_of(materials.models.classifiers[recipe.suffix].path)
            parts = {"recipe": recipe, "choice": choice, "facts": facts}
            table = {name: asdict(value) for name, value in parts.items()}
            table |= {"names": names, "float_sha256": origin}
            (folder / RECORD).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return load_trial(work.folder / key)


def load_trial(folder: Path) -> Trial:
    """Load a trial that `build` kept in its folder. Raises ModelError where that is damaged, or of another version."""
    try:
        table = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        recipe = recipe_from(table["recipe"])
        choice = Choice(**{name: tuple(values) for name, values in table["choice"].items()})
        counted = table["facts"]["convs"]
        convs = ConvCount(**{**counted, "float_ops": tuple(map(tuple, counted["float_ops"]))})
        facts = GraphFacts(**{**table["facts"], "input_shape": tuple(table["facts"]["input_shape"]), "convs": convs})
        path = folder / f"model.{recipe.suffix}"
        return Trial(recipe, path, choice, facts, table["names"], table["float_sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / RECORD}: not what a search writes ({error}). Remove {folder}.") from None


def trial_key(recipe: Recipe, materials: Materials) -> str:
    """The name of a trial's folder: what all of a search is made from, digested, then the recipe."""
    own = [asdict(recipe)]
    if recipe.backend == NNCF_ACCURACY:  # tries models on the faces that judge, until the limit is kept
        own += [materials.evaluation_digest, materials.limits.max_accuracy_drop_points]
    return f"{materials.digest}-{key_of(*own)}"


def resolved(trial: Trial) -> Recipe:
    """The recipe with what measuring found written into it, so that replaying it measures nothing."""
    exclude = tuple(dict.fromkeys((*trial.recipe.exclude, *trial.choice.float_layers)))
    return replace(trial.recipe, integer=trial.choice.operators, exclude=exclude, mixed=False)


def onnx_of(path: Path, names: Mapping[str, str]) -> onnx.ModelProto:
    """An INT8 .onnx with its tensors under the names they had before they were shortened."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    return model
