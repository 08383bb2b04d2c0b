"""How each backend makes a model file of a recipe: what `quantize.trial` asks, and nobody else."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.engines import open_engine
from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces

from export.metadata import put_in_tflite, read_tflite
from export.quiet import quiet
from quantize import corrections, onnx_graph, onnx_ptq, qdq_graph, tflite_graph, tflite_ptq
from quantize.materials import Materials
from quantize.onnx_graph import FloatGraph
from quantize.ranges import Ranges, collect_ranges
from quantize.recipes import (
    AI_EDGE,
    CONVOLUTIONS,
    EVERYTHING,
    NNCF,
    NNCF_ACCURACY,
    NNCF_QAT,
    ONNX_FP16,
    ONNX_QAT,
    ONNXRUNTIME,
    PIXELS,
    TFLITE_FP16,
    TFLITE_QAT,
    Recipe,
)
from quantize.sensitivity import IMAGES, Attempt, Choice, Network, choose_float_layers, choose_operators
from quantize.tflite_graph import FloatModel


def make(recipe: Recipe, materials: Materials, path: Path) -> tuple[Choice, dict[str, str]]:
    """Write the model file `path` that `recipe` makes, without contract; what became integer, and the names of old.

    Raises what the libraries raise.
    """
    choice, content, names = _BACKENDS[recipe.backend](recipe, materials)
    path.write_bytes(content)
    return choice, names


_Result = tuple[Choice, bytes, dict[str, str]]


def _qdq(recipe: Recipe, materials: Materials) -> _Result:
    return _qdq_of(materials.models.graph, ranges_for("onnx", recipe, materials), recipe, materials)


def _qdq_of(graph: FloatGraph, ranges: Ranges, recipe: Recipe, materials: Materials) -> _Result:
    if recipe.equalize:
        graph = corrections.equalized(graph)
        ranges = corrections.ranges_of(graph, materials.images, recipe, materials.calibration.quantile)
    choice = _decided(recipe, _onnx_network(graph, ranges, recipe, materials.images))
    model = onnx_ptq.quantized(graph, ranges, recipe, choice)
    if recipe.bias_correction != "none":
        graph = corrections.bias_corrected(graph, model, materials.images)
        model = onnx_ptq.quantized(graph, ranges, recipe, choice)
    return choice, *_finished(model)


def _finished(model: onnx.ModelProto) -> tuple[bytes, dict[str, str]]:
    names = qdq_graph.shorten_names(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), names


def _decided(recipe: Recipe, network: Network) -> Choice:
    if recipe.integer is not None:
        return Choice(recipe.integer)
    if recipe.operators == CONVOLUTIONS:
        choice = Choice(network.required)
    else:
        choice = Choice(network.operators) if recipe.operators == EVERYTHING else choose_operators(network)
    return choose_float_layers(network, choice, leading=recipe.leading) if recipe.mixed else choice


def _onnx_network(graph: FloatGraph, ranges: Ranges, recipe: Recipe, images: NDArray[np.uint8]) -> Network:
    tried = images if recipe.mixed else images[:IMAGES]
    name = graph.body.graph.output[0].name
    reference = np.concatenate([part[name] for part in onnx_graph.activations(graph, graph.body, (name,), tried)])
    # Signed activations run unfused on x86; which operators fuse and what rounding costs is the same with unsigned.
    asked = replace(recipe, activations="u8") if recipe.activations == "s8" else recipe

    def attempt(choice: Choice, count: int) -> Attempt:
        model = onnx_ptq.quantized(graph, ranges, asked, choice)
        outputs = np.concatenate([part[name] for part in onnx_graph.activations(graph, model, (name,), tried[:count])])
        return Attempt(outputs, qdq_graph.executed_nodes(model))

    known = tuple(
        kind
        for kind in onnx_ptq.optional_operators(graph)
        if all(tensor in ranges or tensor == graph.input for tensor in onnx_ptq.observed_tensors(graph, (kind,)))
    )
    return Network(known, onnx_ptq.convolution_layers(graph), reference, attempt)


def _tflite(recipe: Recipe, materials: Materials) -> _Result:
    content = materials.models.classifiers["tflite"].path.read_bytes()
    return _tflite_of(content, materials.models.tflite, ranges_for("tflite", recipe, materials), recipe, materials)


def _tflite_of(float_file: bytes, model: FloatModel, ranges: Ranges, recipe: Recipe, materials: Materials) -> _Result:
    tried = materials.images if recipe.mixed else materials.images[:IMAGES]
    contract = materials.models.classifiers["tflite"].contract
    plain = replace(recipe, io=PIXELS)

    def outputs_of(content: bytes, count: int) -> NDArray[np.float32]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.tflite"
            file.write_bytes(content)
            engine = open_engine(file)
            spec = replace(contract.input, dtype=engine.input.dtype, low=-128 if engine.input.dtype == "int8" else 0)
            fed = replace(contract, input=spec).model_input(tried[:count])
            return np.asarray(engine.run(fed)[0], dtype=np.float32)

    def attempt(choice: Choice, count: int) -> Attempt:
        content = tflite_ptq.quantized(model, ranges, plain, choice)
        return Attempt(outputs_of(content, count), len(read_tflite(content).subgraphs[0].operators))

    known = tuple(
        kind
        for kind in tflite_graph.optional_operators(model)
        if set(tflite_graph.observed_tensors(model, (kind,))) <= {*ranges, model.input}
    )
    required = tuple(kind for kind in tflite_graph.required_operators(model) if kind in known)
    layers, reference = tflite_graph.convolution_layers(model), outputs_of(float_file, len(tried))
    network = Network(known, layers, reference, attempt, required)
    choice = _decided(recipe, network)
    return choice, tflite_ptq.quantized(model, ranges, recipe, choice), {}


def ranges_for(kind: str, recipe: Recipe, materials: Materials) -> Ranges:
    """The activation ranges of a format by the recipe's method. Raises UsageError where the calibration lacks them."""
    methods = materials.calibration.ranges[kind]
    if recipe.ranges not in methods:
        raise UsageError(f"recipe {recipe.name}: the calibration has no {recipe.ranges} ranges of the .{kind}.")
    return methods[recipe.ranges]


def _nncf(recipe: Recipe, materials: Materials) -> _Result:
    from quantize import nncf_ptq

    assert materials.faces is not None, "a recipe that lacks something is left out, see `trial.missing`"
    faces = materials.faces
    if recipe.backend == NNCF:
        model = nncf_ptq.quantized(materials.models.graph, faces.calibration, recipe)
    else:
        assert isinstance(faces.evaluation, LabelledFaces)
        drop = materials.limits.max_accuracy_drop_points
        model = nncf_ptq.accuracy_controlled(materials.models.graph, faces.calibration, faces.evaluation, recipe, drop)
    return Choice(), *_finished(model)


def _nncf_qat(recipe: Recipe, materials: Materials) -> _Result:
    from quantize import nncf_qat

    assert materials.faces is not None, "see `trial.missing`"
    faces, graph = materials.faces, materials.models.graph
    model = nncf_qat.quantized(graph, _teacher(materials), faces.training, faces.calibration, recipe)
    return Choice(), *_finished(model)


@functools.lru_cache(maxsize=1)
def _finetuned(materials: Materials, steps: int, learning_rate: float) -> Any:
    """The float network after quantization-aware training: the same for both kinds of file."""
    from quantize.qat import finetuned

    assert materials.faces is not None, "see `trial.missing`"
    faces, graph = materials.faces, materials.models.graph
    return finetuned(_teacher(materials), graph, faces.training, faces.calibration, steps, learning_rate)


def _teacher(materials: Materials) -> Any:
    """The network of the checkpoint, or of an adopted model the torch module of its float .onnx."""
    from quantize.qat import teacher_of
    from train.fit import checkpoint as checkpoints

    if materials.checkpoint is not None:
        return checkpoints.load(materials.checkpoint).network
    models = materials.models
    return teacher_of(models.graph, models.golden, str(models.classifiers["onnx"].path))


def _onnx_qat(recipe: Recipe, materials: Materials) -> _Result:
    from quantize.qat import onnx_again

    graph = onnx_again(_finetuned(materials, recipe.steps, recipe.learning_rate), materials.models.graph)
    ranges = corrections.ranges_of(graph, materials.images, recipe, materials.calibration.quantile)
    return _qdq_of(graph, ranges, recipe, materials)


def _tflite_qat(recipe: Recipe, materials: Materials) -> _Result:
    from quantize.qat import tflite_again

    content = tflite_again(_finetuned(materials, recipe.steps, recipe.learning_rate), materials.models.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "finetuned.tflite"
        path.write_bytes(put_in_tflite(content, materials.models.classifiers["tflite"].contract))
        contract = materials.models.classifiers["tflite"].contract
        model, content = tflite_graph.float_model(path, contract), path.read_bytes()
    batches = tflite_graph.activations(model, materials.images)
    ranges = collect_ranges(batches, (recipe.ranges,), materials.calibration.quantile)[recipe.ranges]
    return _tflite_of(content, model, ranges, recipe, materials)


def _onnx_fp16(recipe: Recipe, materials: Materials) -> _Result:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(materials.models.classifiers["onnx"].path)
    del model.metadata_props[:]
    with quiet():
        half = convert_float_to_float16(model, keep_io_types=True)
    return Choice(), *_finished(half)


def _tflite_fp16(recipe: Recipe, materials: Materials) -> _Result:
    return Choice(), tflite_ptq.half(materials.models.classifiers["tflite"].path.read_bytes()), {}


_BACKENDS: dict[str, Callable[[Recipe, Materials], _Result]] = {
    ONNXRUNTIME: _qdq,
    NNCF: _nncf,
    NNCF_ACCURACY: _nncf,
    NNCF_QAT: _nncf_qat,
    AI_EDGE: _tflite,
    ONNX_QAT: _onnx_qat,
    TFLITE_QAT: _tflite_qat,
    ONNX_FP16: _onnx_fp16,
    TFLITE_FP16: _tflite_fp16,
}
