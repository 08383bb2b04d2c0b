"""One candidate: a recipe carried out, its file kept with a contract, its answers scored; resumed where it was done."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

from fer_edge.classifier import Classifier
from fer_edge.contract import InputSpec, Measurement, ModelContract, ValueMeasurement
from fer_edge.errors import ModelError, UsageError
from fer_edge.faces import LabelledFaces, ValuedFaces
from fer_edge.files import atomic_write, sha256_of
from fer_edge.metrics import ValueMetrics
from fer_edge.tasks import CLASSES

from export.artefacts import write_contract
from export.contracts import PRODUCER, build_date
from export.metadata import put_in_onnx, put_in_tflite
from quantize import onnx_ptq, qdq_graph, tflite_ptq
from quantize.calibration import Calibration
from quantize.faces import Evaluation, FaceSets
from quantize.gate import Limits
from quantize.measure import Score, answers_of, follows, score
from quantize.qdq_graph import ConvCount
from quantize.recipes import FLOAT_IO, NNCF, NNCF_ACCURACY, NNCF_QAT, Recipe, Target, recipe_from
from quantize.source import FloatModels
from quantize.work import WorkFolder, key_of, source_digest

RESULT = "result.json"
_LIBRARIES = ("onnxruntime", "onnx", "nncf", "ai-edge-quantizer", "ai-edge-litert", "torch")


@dataclass(frozen=True)
class Materials:
    """All that recipes work with. `faces` and `checkpoint` are None where they are not at hand."""

    models: FloatModels
    calibration: Calibration
    faces: FaceSets | None
    evaluation: Evaluation
    checkpoint: Path | None
    target: Target
    limits: Limits

    @functools.cached_property
    def digest(self) -> str:
        """Part of the SHA-256 over everything that decides what a recipe makes and how it scores."""
        digest = hashlib.sha256(source_digest().encode())
        for model in self.models.classifiers.values():
            digest.update(sha256_of(model.path).encode())
        calibration = self.calibration
        digest.update(f"{calibration.description()} {calibration.quantile}".encode())
        # Ranges by other methods follow from the same faces.
        digest.update(f"{[methods.get('minmax') for methods in calibration.ranges.values()]}".encode())
        digest.update(self.evaluation.images.tobytes())
        if self.evaluation.faces is not None:
            digest.update(self.evaluation.faces.truth.tobytes())
        digest.update(f"{self.target} {self.limits} {[version(name) for name in _LIBRARIES]}".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Made:
    """A finished candidate. `names`: what shortened tensor names in the file stood for, empty for a .tflite.

    `float_sha256`: of the float model it was made from.
    """

    recipe: Recipe
    path: Path
    score: Score
    counted: ConvCount
    names: dict[str, str]
    float_sha256: str


def missing(recipe: Recipe, materials: Materials) -> str | None:
    """What a recipe needs and is not at hand, in words; None where it can be carried out."""
    if recipe.suffix not in materials.models.classifiers:
        return f"a float .{recipe.suffix}"
    if recipe.needs_faces and materials.faces is None:
        return "faces, a calibration cache is not enough"
    kind = materials.models.classifiers["onnx"].contract.task_spec.kind
    if recipe.backend in (NNCF_ACCURACY, NNCF_QAT) and kind != CLASSES:
        return "a task of classes"
    if recipe.backend == NNCF_QAT:
        if materials.checkpoint is None:
            return "the checkpoint the float models came from"
        if recipe.exclude:
            return "all layers integer: it knows the layers of --exclude by other names"
        if onnx_ptq.does_arithmetic(materials.models.graph):
            return "a network of convolutions alone: it would make attention and normalisation integer"
    return None


def make(recipe: Recipe, materials: Materials, work: WorkFolder, float_answers: Any) -> Made:
    """Carry out `recipe`, or take what an earlier start finished. Raises what its libraries raise."""
    key = candidate_key(recipe, materials)
    if work.find(key) is None:
        with work.building(key) as folder:
            path = folder / f"model.{recipe.suffix}"
            names = _BACKENDS[recipe.suffix](recipe, materials, path)
            base = materials.models.classifiers[recipe.suffix].contract
            put_contract(path, _contract(base, _input(base.input, recipe, path), materials))
            scored = _scored(path, materials, float_answers)
            # Signed activations fuse on Arm and not here: what counts is the graph the target runs.
            on_arm = materials.target.activations != "u8"
            count = _COUNT[recipe.suffix]
            counted = count(path, as_on_arm=on_arm) if recipe.suffix == "onnx" else count(path)
            result = {"recipe": recipe, "score": scored, "counted": counted}
            origin = sha256_of(materials.models.classifiers[recipe.suffix].path)
            table = {name: asdict(value) for name, value in result.items()} | {"names": names, "float_sha256": origin}
            (folder / RESULT).write_text(json.dumps(table, indent=1) + "\n")
    return load(work.folder / key)


def load(folder: Path) -> Made:
    """What `make` kept in a candidate's folder. Raises ModelError where that is damaged, or of another version."""
    try:
        table = json.loads((folder / RESULT).read_text())
        recipe = recipe_from(table["recipe"])
        counted = ConvCount(**{**table["counted"], "float_ops": tuple(map(tuple, table["counted"]["float_ops"]))})
        values = tuple(ValueMetrics(**metrics) for metrics in table["score"]["values"])
        scored = Score(**{**table["score"], "values": values})
        path = folder / f"model.{recipe.suffix}"
        return Made(recipe, path, scored, counted, table["names"], table["float_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RESULT}: not what a search writes ({error}). Remove {folder}.") from None


def candidate_key(recipe: Recipe, materials: Materials) -> str:
    """The name of a candidate's folder: what all of a search is made from, digested, then the recipe."""
    return f"{materials.digest}-{key_of(asdict(recipe))}"


def _make_onnx(recipe: Recipe, materials: Materials, path: Path) -> dict[str, str]:
    model = onnx_model(recipe, materials)
    names = qdq_graph.shorten_names(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return names


def onnx_model(recipe: Recipe, materials: Materials) -> onnx.ModelProto:
    """The INT8 model an ONNX recipe makes, with the float model's names, without contract."""
    graph, faces = materials.models.graph, materials.faces
    if recipe.backend not in (NNCF, NNCF_ACCURACY, NNCF_QAT):
        return onnx_ptq.quantized(graph, _ranges("onnx", recipe, materials.calibration), recipe)
    assert faces is not None, "a recipe that lacks something is left out, see `missing`"
    if recipe.backend == NNCF_QAT:
        from quantize import nncf_qat

        assert materials.checkpoint is not None
        return nncf_qat.quantized(graph, materials.checkpoint, faces.training, faces.calibration, recipe)
    from quantize import nncf_ptq

    if recipe.backend == NNCF:
        return nncf_ptq.quantized(graph, faces.calibration, recipe)
    assert isinstance(faces.evaluation, LabelledFaces)
    drop = materials.limits.max_accuracy_drop_points
    return nncf_ptq.accuracy_controlled(graph, faces.calibration, faces.evaluation, recipe, drop)


def _make_tflite(recipe: Recipe, materials: Materials, path: Path) -> dict[str, str]:
    ranges = _ranges("tflite", recipe, materials.calibration)
    path.write_bytes(tflite_ptq.quantized(materials.models.tflite, ranges, recipe))
    return {}


_BACKENDS: dict[str, Callable[[Recipe, Materials, Path], dict[str, str]]] = {
    "onnx": _make_onnx,
    "tflite": _make_tflite,
}
_COUNT: dict[str, Callable[..., ConvCount]] = {"onnx": qdq_graph.count_convs, "tflite": tflite_ptq.count_convs}


def _ranges(kind: str, recipe: Recipe, calibration: Calibration) -> Any:
    methods = calibration.ranges[kind]
    if recipe.ranges not in methods:
        raise UsageError(f"recipe {recipe.name}: the calibration has no {recipe.ranges} ranges of the .{kind}.")
    return methods[recipe.ranges]


def _contract(base: ModelContract, spec: InputSpec, materials: Materials) -> ModelContract:
    """The float model's contract, made true of the INT8 one. What was measured of float is not kept."""
    return replace(
        base,
        input=spec,
        precision="int8",
        calibrated_on=materials.calibration.description(),
        measured=(),
        measured_values=(),
        producer=PRODUCER,
        created=build_date(),
    )


def _input(spec: InputSpec, recipe: Recipe, path: Path) -> InputSpec:
    """What the INT8 file takes: raw pixels in one of three forms."""
    if recipe.suffix == "onnx":
        element = onnx.load(path).graph.input[0].type.tensor_type.elem_type
        dtype = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT8: "int8"}.get(element, "float32")
    else:
        dtype = "float32" if recipe.io == FLOAT_IO else "int8"
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    return replace(spec, dtype=dtype, low=low, high=high)


def _scored(path: Path, materials: Materials, float_answers: Any) -> Score:
    """Score the file as a board would run it, and put what was measured into its contract. Raises ModelError."""
    model, evaluation = Classifier(path), materials.evaluation
    answers = answers_of(model, evaluation.images)
    if evaluation.faces is None and not follows(answers, float_answers):
        raise ModelError("its answers to the golden inputs do not follow those of the float model")
    scored = score(answers, float_answers, evaluation.faces, model.contract.task_spec.kind)
    if evaluation.faces is not None:
        put_contract(path, with_figures(model.contract, scored, evaluation.faces))
    return scored


def with_figures(contract: ModelContract, scored: Score, faces: LabelledFaces | ValuedFaces) -> ModelContract:
    """The contract with a score on `faces` in the form a contract keeps it."""
    where = {"dataset": faces.dataset, "split": faces.split, "crops": "single"}
    if scored.accuracy is None or scored.macro_f1 is None:
        pairs = zip(contract.labels, scored.values, strict=True)
        values = (ValueMeasurement(label=label, **vars(metrics), **where) for label, metrics in pairs)
        return replace(contract, measured_values=tuple(values))
    one = Measurement(n=scored.n, accuracy=scored.accuracy, macro_f1=scored.macro_f1, **where)
    return replace(contract, measured=(one,))


def put_contract(path: Path, contract: ModelContract) -> None:
    """Store the contract inside the model file and beside it; a kill leaves the one before."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        put_in_onnx(model, contract)
        content = model.SerializeToString()
    else:
        content = put_in_tflite(path.read_bytes(), contract)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    write_contract(path, contract)
