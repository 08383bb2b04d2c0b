"""A float TFLite model before quantization: cut behind the scaling of pixels, and what happens inside it."""

import copy
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError

from export.metadata import read_tflite, write_tflite
from export.tflite_model import INPUT, operator_name
from quantize.onnx_graph import Scaling
from quantize.qdq_graph import ConvCount

# Always integer. The last layer stays float: a thousandth of the work, it costs half a point of agreement in 8 bits.
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "RELU", "RELU6")
# Before the last layer it is optional, and always integer where such layers hold this share of the weights, as
# more of them in float would miss the gate's limit of size.
FULLY_CONNECTED = "FULLY_CONNECTED"
_LARGE_SHARE = 0.1
_MOVES = ("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "CONCATENATION", "PAD", "PADV2", "MIRROR_PAD")
# What else ai-edge-quantizer makes integer; measuring decides which of them pay.
_OPTIONAL = ("ADD", "MEAN", "MUL", "SUB", "SUM", "AVERAGE_POOL_2D", "MAX_POOL_2D", "HARD_SWISH", "LOGISTIC", "RSQRT")
_OPTIONAL += ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", *_MOVES)
FLOAT32, INT8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
_CONVS = ("conv_2d", "depthwise_conv_2d")
_NOT_COMPUTING = {"quantize", "dequantize", *(name.lower() for name in _MOVES)}


@dataclass(frozen=True)
class FloatModel:
    """A float .tflite cut behind its scaling: `content` takes (1, h, w, c) float32, (pixel - mean) * scale.

    `scaled_inside` is the same model cut behind its Cast alone: it takes raw pixels as float32. A scaling that differs
    by channel, or whose mean is no pixel, stays in the content, which then takes raw pixels too.
    """

    content: bytes
    scaled_inside: bytes
    input: str
    normalised_name: str
    scaling: Scaling
    contract: ModelContract

    def normalised(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One raw face, grey (h, w) or BGR (h, w, 3) uint8 -> what the content takes, (1, h, w, c) float32."""
        pixels = self.contract.model_input(face[None]).astype(np.float32)
        return ((pixels - self.scaling.mean) * self.scaling.scale).astype(np.float32)


def float_model(path: Path, contract: ModelContract) -> FloatModel:
    """Read a float model of raw uint8 pixels, NHWC. Raises ModelError where it does not begin with CAST.

    The converter folds MUL into a convolution that nothing pads, wholly or beside other readers of the pixels: then the
    content takes pixel - mean, and its scale is 1.
    """
    model = read_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    if not graph.operators or operator_name(model, graph.operators[0]) != "cast":
        raise ModelError(f"{path}: expected raw pixels and a graph that begins with CAST. Export or adopt it again.")
    length, scaling = _head(model)
    pixels, normalised = int(graph.operators[0].outputs[0]), int(graph.operators[length - 1].outputs[0])
    name = graph.tensors[normalised].name.decode()
    return FloatModel(_cut(model, length, normalised), _cut(model, 1, pixels), INPUT, name, scaling, contract)


def _head(model: Any) -> tuple[int, Scaling]:
    """How many first operators are CAST and one scaling for all channels, and that scaling."""
    graph = model.subgraphs[0]
    length, mean, scale = 1, 0.0, 1.0
    names = [operator_name(model, operator) for operator in graph.operators[:3]]
    if names[1:2] == ["sub"] and (number := _constant(model, graph.operators[1])) is not None:
        if number != round(number) or not 0 <= number <= 255 or not _only_reader(graph, graph.operators[1]):
            return length, Scaling(0.0, 1.0)
        length, mean = 2, number
    if names[length : length + 1] == ["mul"]:
        number = _constant(model, graph.operators[length])
        if number is not None and number > 0 and _only_reader(graph, graph.operators[length]):
            length, scale = length + 1, number
    return length, Scaling(mean, scale)


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


def _constant(model: Any, operator: Any) -> float | None:
    """The one number that an operator takes beside what came before it; None where it takes several."""
    if len(operator.inputs) < 2:
        return None
    data = model.buffers[model.subgraphs[0].tensors[operator.inputs[1]].buffer].data
    numbers = np.frombuffer(bytes(data), np.float32) if data is not None and len(data) else np.zeros(0, np.float32)
    return float(numbers[0]) if numbers.size and (numbers == numbers[0]).all() else None


def optional_operators(model: FloatModel) -> tuple[str, ...]:
    """Kinds of operators in the model that may be integer or float, the most frequent first."""
    content = read_tflite(model.content)
    found = Counter(operator_name(content, operator).upper() for operator in content.subgraphs[0].operators)
    found[FULLY_CONNECTED] -= len(last_layers(model.content))
    kinds = (*_OPTIONAL, FULLY_CONNECTED)
    return tuple(sorted((kind for kind in kinds if found[kind] > 0), key=lambda kind: -found[kind]))


def required_operators(model: FloatModel) -> tuple[str, ...]:
    """Kinds without which an INT8 file would keep a large share of the weights in float: fully connected layers."""
    last = last_layers(model.content)
    inner = [name for name in _fully_connected(model.content) if name not in last]
    return (FULLY_CONNECTED,) if holds_much(model.content, inner) else ()


def holds_much(content: bytes, layers: Collection[str]) -> bool:
    """Whether these fully connected layers hold a large share of the weights."""
    model = read_tflite(content)
    whole = sum(_bytes_of(model, tensor) for tensor in range(len(model.subgraphs[0].tensors)))
    weights = _fully_connected(content)
    return sum(weights[name] for name in layers) > _LARGE_SHARE * whole


def _fully_connected(content: bytes) -> dict[str, int]:
    """Bytes of the weights of each fully connected layer, by the name of what it makes."""
    model = read_tflite(content)
    tensors = model.subgraphs[0].tensors
    return {
        tensors[operator.outputs[0]].name.decode(): _bytes_of(model, operator.inputs[1])
        for operator in model.subgraphs[0].operators
        if _is_fully_connected(model, operator)
    }


def last_layers(content: bytes) -> tuple[str, ...]:
    """Fully connected layers that no convolution or other such layer follows, by the name of what they make."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    made_by = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    pending, seen, found = list(graph.outputs), set[int](), []
    while pending:
        tensor = pending.pop()
        if tensor in seen or (operator := made_by.get(tensor)) is None:
            continue
        seen.add(tensor)
        if _is_fully_connected(model, operator):
            found.append(graph.tensors[tensor].name.decode())
        elif operator_name(model, operator) not in _CONVS:
            pending += list(operator.inputs)
    return tuple(found)


def _is_fully_connected(model: Any, operator: Any) -> bool:
    return operator_name(model, operator).upper() == FULLY_CONNECTED


def _bytes_of(model: Any, tensor: int) -> int:
    """Size of a constant; 0 for anything else."""
    data = model.buffers[model.subgraphs[0].tensors[tensor].buffer].data
    return 0 if data is None else len(data)


def convolution_layers(model: FloatModel) -> dict[str, int]:
    """The convolutions by the name of what they make, in graph order, each with its multiplications."""
    content = read_tflite(model.content)
    tensors = content.subgraphs[0].tensors
    found = {}
    for operator in content.subgraphs[0].operators:
        if (kind := operator_name(content, operator)) in _CONVS:
            weights, made = tensors[operator.inputs[1]].shape, tensors[operator.outputs[0]]
            taps = int(np.prod(weights[1:3])) * (int(weights[3]) if kind == "conv_2d" else 1)
            found[made.name.decode()] = int(np.prod(made.shape)) * taps
    return found


def observed_tensors(model: FloatModel, operators: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the activations whose ranges `operators` need (default: all there are), in graph order."""
    content = read_tflite(model.content)
    graph = content.subgraphs[0]
    chosen = None if operators is None else {*CONVOLUTIONS, *operators}
    made = [*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)]
    used = {
        tensor
        for operator in graph.operators
        if chosen is None or operator_name(content, operator).upper() in chosen
        for tensor in (*operator.inputs, *operator.outputs)
    }
    tensors = (graph.tensors[tensor] for tensor in made if tensor in used)
    # One number, such as a regulariser, is no activation; nor are integers.
    return tuple(t.name.decode() for t in tensors if t.type == FLOAT32 and t.shape is not None and len(t.shape))


def activations(model: FloatModel, faces: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run raw faces one by one: for each, every observed tensor, (1, ...) float32."""
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


def layer_names(content: bytes) -> set[str]:
    """Names of the operators of a .tflite: the tensors they make, each fused name by itself."""
    graph = read_tflite(content).subgraphs[0]
    tensors = (graph.tensors[output].name.decode() for operator in graph.operators for output in operator.outputs)
    return {name for tensor in tensors for name in tensor.split(";")}


def count_convs(path: Path) -> ConvCount:
    """Convolutions of the file, those whose input, weights and output are int8, and what computes in float."""
    model = read_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    convs = [operator for operator in graph.operators if operator_name(model, operator) in _CONVS]

    def of_type(tensors: tuple[int, ...], kind: int) -> bool:
        return all(graph.tensors[tensor].type == kind for tensor in tensors)

    integer = sum(of_type((*conv.inputs[:2], *conv.outputs), INT8) for conv in convs)
    islands = Counter(
        name
        for operator in graph.operators
        if of_type(tuple(operator.outputs), FLOAT32) and (name := operator_name(model, operator)) not in _NOT_COMPUTING
    )
    return ConvCount(len(convs), integer, tuple(sorted(islands.items())))
