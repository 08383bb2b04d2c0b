"""Post-training quantization of TFLite with ai-edge-quantizer, with the input and output a recipe asks for."""

import copy
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from fer_edge.errors import ModelError

from export.metadata import read_tflite, write_tflite
from export.quiet import quiet
from export.tflite_model import INPUT, operator_name
from quantize.onnx_graph import Scaling
from quantize.qdq_graph import ConvCount
from quantize.ranges import Range, Ranges, require_ranges
from quantize.recipes import FLOAT_IO, FULL_INTEGER, Recipe

# What becomes integer. All else stays float: attention and hard-swish lose too much, and the last layer, a thousandth
# of the work, costs half a point of agreement in eight bits.
_MOVES = ("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "CONCATENATION", "PAD", "PADV2", "MIRROR_PAD")
_INTEGER_OPS = {"CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "ADD", "RELU", "MEAN", *_MOVES}
_INTEGER_OPS |= {"AVERAGE_POOL_2D", "MAX_POOL_2D"}
_SCALING = ["cast", "sub", "mul"]
_CONVS = ("conv_2d", "depthwise_conv_2d")
# See onnx_ptq: beside such arithmetic the convolutions alone become integer.
_ARITHMETIC = {"hard_swish", "logistic", "tanh", "softmax", "div", "rsqrt", "sqrt", "exp", "pow"}
_NOT_COMPUTING = {"quantize", "dequantize", *(name.lower() for name in _MOVES)}


@dataclass(frozen=True)
class FloatModel:
    """A float .tflite cut behind its scaling: `content` takes (1, h, w, 1) float32, (pixel - mean) * scale.

    `scaled_inside` is the same model cut behind its Cast alone: it takes raw pixels as float32.
    """

    content: bytes
    scaled_inside: bytes
    input: str
    normalised_name: str
    scaling: Scaling

    def normalised(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One raw face (h, w) uint8 -> what the content takes, (1, h, w, 1) float32."""
        return ((face[None, :, :, None].astype(np.float32) - self.scaling.mean) * self.scaling.scale).astype(np.float32)


def float_model(path: Path) -> FloatModel:
    """Read a float model that `export` wrote. Raises ModelError where it does not begin with CAST, SUB.

    The converter folds MUL into a convolution that nothing pads, wholly or beside other readers of the pixels: then the
    content takes pixel - mean, and its scale is 1.
    """
    model = read_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    names = [operator_name(model, operator) for operator in graph.operators[: len(_SCALING)]]
    if names[:2] != _SCALING[:2]:
        raise ModelError(f"{path}: expected a graph that begins with CAST, SUB, MUL. Export it again: `make export`.")
    head = graph.operators[: 3 if names == _SCALING and _only_reader(graph, graph.operators[2]) else 2]
    mean, *scales = (_constant(model, operator.inputs[1]) for operator in head[1:])
    normalised, pixels = int(head[-1].outputs[0]), int(head[0].outputs[0])
    name = graph.tensors[normalised].name.decode()
    scaling = Scaling(mean=mean, scale=scales[0] if scales else 1.0)
    return FloatModel(_cut(model, len(head), normalised), _cut(model, 1, pixels), INPUT, name, scaling)


def _only_reader(graph: Any, operator: Any) -> bool:
    """Whether nobody else reads what `operator` reads first."""
    return sum(int(operator.inputs[0]) in other.inputs for other in graph.operators) == 1


def _cut(model: Any, operators: int, entry: int) -> bytes:
    """The model without its first operators, taking the tensor `entry` as its input `faces`."""
    cut = copy.deepcopy(model)
    graph = cut.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = b"raw"
    graph.tensors[entry].name = INPUT.encode()
    graph.operators, graph.inputs = graph.operators[operators:], [entry]
    for signature in cut.signatureDefs or []:
        signature.inputs[0].tensorIndex = entry
    return write_tflite(cut)


def _constant(model: Any, tensor: int) -> float:
    data = model.buffers[model.subgraphs[0].tensors[tensor].buffer].data
    return float(np.frombuffer(bytes(data), np.float32)[0])


def observed_tensors(model: FloatModel) -> tuple[str, ...]:
    """Names of the activations whose ranges quantization needs, in graph order."""
    content = read_tflite(model.content)
    graph, integer = content.subgraphs[0], _integer_ops(content)
    made = [*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)]
    used = {
        tensor
        for operator in graph.operators
        if integer is _INTEGER_OPS or operator_name(content, operator).upper() in integer
        for tensor in (*operator.inputs, *operator.outputs)
    }
    return tuple(graph.tensors[tensor].name.decode() for tensor in made if tensor in used)


def _integer_ops(model: Any) -> set[str]:
    """The kinds of operators that become integer, by the names the quantizer has for them."""
    kinds = {operator_name(model, operator) for operator in model.subgraphs[0].operators}
    return {name.upper() for name in _CONVS} if kinds & _ARITHMETIC else _INTEGER_OPS


def activations(model: FloatModel, faces: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run faces (n, h, w) uint8 one by one: for each, every observed tensor, (1, ...) float32."""
    names = set(observed_tensors(model)) - {model.input}
    # Without the XNNPACK delegate, which would swallow the tensors between its first and last operator.
    interpreter = Interpreter(
        model_content=model.content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    details = [detail for detail in interpreter.get_tensor_details() if detail["name"] in names]
    for face in faces:
        interpreter.set_tensor(entry, model.normalised(face))
        interpreter.invoke()
        yield {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details}


def quantized(model: FloatModel, ranges: Ranges, recipe: Recipe) -> bytes:
    """The INT8 model, batch 1. Raises ModelError where `ranges` lacks a tensor.

    Input (1, h, w, 1): int8, the pixel minus 128; with `io` "float" the raw pixel as float32. Output (1, labels):
    float32 logits; with "full-integer" int8 with a scale and zero point.
    """
    require_ranges({**ranges, model.input: Range(0, 0)}, observed_tensors(model), "TFLite")
    inside = recipe.io == FLOAT_IO
    content = model.scaled_inside if inside else model.content
    pixel = model.scaling.range()
    raw = {model.input: Range(0, 255), model.normalised_name: pixel} if inside else {model.input: pixel}
    statistics = {
        name: {"min": np.array([[r.low]], np.float32), "max": np.array([[r.high]], np.float32)}
        for name, r in {**ranges, **raw}.items()
    }
    with quiet():
        worker = _worker(content, recipe)
        result = worker.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _worker(content: bytes, recipe: Recipe) -> Any:
    from ai_edge_quantizer import qtyping, quantizer

    integer = _integer_ops(read_tflite(content)) | (
        {"FULLY_CONNECTED", "OUTPUT"} if recipe.io == FULL_INTEGER else set()
    )
    integer |= set() if recipe.io == FLOAT_IO else {"INPUT"}
    kinds = qtyping.TFLOperationName
    grain = qtyping.QuantGranularity
    worker = quantizer.Quantizer(content)
    worker.add_static_config(
        regex=".*",
        operation_name=kinds.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=grain.CHANNELWISE if recipe.per_channel else grain.TENSORWISE,
    )
    for kind in kinds:
        if kind not in (kinds.ALL_SUPPORTED, *(kinds[name] for name in integer)):
            worker.update_quantization_recipe(".*", kind, algorithm_key="no_quantize")
    for name in (*recipe.exclude, *_attention(content)):
        worker.update_quantization_recipe(
            f"(^|;){re.escape(name)}(;|$)", kinds.ALL_SUPPORTED, algorithm_key="no_quantize"
        )
    return worker


def layer_names(content: bytes) -> set[str]:
    """What the operators of a .tflite are called: the tensors they make, each fused name by itself."""
    graph = read_tflite(content).subgraphs[0]
    tensors = (graph.tensors[output].name.decode() for operator in graph.operators for output in operator.outputs)
    return {name for tensor in tensors for name in tensor.split(";")}


def _attention(content: bytes) -> list[str]:
    """Operators of attention or normalisation, by the name of what they make: they stay float.

    An addition of a constant is one (of SimAM's energies, never of a shortcut), and a mean that is not the last
    layers' pooling.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    made = {tensor for operator in graph.operators for tensor in operator.outputs} | set(graph.inputs)
    readers: dict[int, set[str]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers.setdefault(int(tensor), set()).add(operator_name(model, operator))
    return [
        graph.tensors[operator.outputs[0]].name.decode()
        for operator in graph.operators
        if (kind := operator_name(model, operator)) in ("add", "mean")
        and (
            set(operator.inputs) - made
            if kind == "add"
            else readers.get(int(operator.outputs[0]), set()) - {"fully_connected", "reshape"}
        )
    ]


def count_convs(path: Path) -> ConvCount:
    """Convolutions of the file, those whose input, weights and output are int8, and what computes in float."""
    model = read_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    convs = [operator for operator in graph.operators if operator_name(model, operator) in _CONVS]

    def of_type(tensors: tuple[int, ...], kind: int) -> bool:
        return all(graph.tensors[tensor].type == kind for tensor in tensors)

    integer = sum(of_type((*conv.inputs[:2], *conv.outputs), schema.TensorType.INT8) for conv in convs)
    islands = Counter(
        name
        for operator in graph.operators
        if of_type(tuple(operator.outputs), schema.TensorType.FLOAT32)
        and (name := operator_name(model, operator)) not in _NOT_COMPUTING
    )
    return ConvCount(len(convs), integer, tuple(sorted(islands.items())))
