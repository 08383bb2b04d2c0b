"""Post-training quantization of TFLite: INT8, the pixel minus 128 being the first quantized tensor."""

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
from quantize.onnx_ptq import ConvCount
from quantize.ranges import Range, Ranges, require_ranges

RECIPE = "static_wi8_ai8, weights per channel"
# The last layer, a thousandth of the work, and the logits stay float: eight bits for them cost half a point of
# agreement. The integer chain before it is unbroken.
_FLOAT_OPS = ("FULLY_CONNECTED", "OUTPUT")
_SCALING = ["cast", "sub", "mul"]
_CONVS = ("conv_2d", "depthwise_conv_2d")
# See onnx_ptq: beside such arithmetic the convolutions alone become integer.
_ARITHMETIC = {"hard_swish", "logistic", "tanh", "softmax", "div", "rsqrt", "sqrt", "exp", "pow"}


@dataclass(frozen=True)
class FloatModel:
    """A float .tflite without its scaling: `content` takes (1, h, w, 1) float32, (pixel - mean) * scale."""

    content: bytes
    input: str
    pixel_mean: float
    pixel_scale: float

    def normalised(self, face: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One raw face (h, w) uint8 -> what the content takes, (1, h, w, 1) float32."""
        return ((face[None, :, :, None].astype(np.float32) - self.pixel_mean) * self.pixel_scale).astype(np.float32)

    def input_range(self) -> Range:
        """What the pixels 0 and 255 become: int8 over it has the scale `pixel_scale`, zero point `pixel_mean` - 128."""
        return Range(-self.pixel_mean * self.pixel_scale, (255 - self.pixel_mean) * self.pixel_scale)


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
    mean, *scale = (_constant(model, operator.inputs[1]) for operator in head[1:])
    first = int(head[-1].outputs[0])
    graph.operators, graph.inputs = graph.operators[len(head) :], [first]
    graph.tensors[first].name, graph.tensors[head[0].inputs[0]].name = INPUT.encode(), b"pixels"
    for signature in model.signatureDefs or []:
        signature.inputs[0].tensorIndex = first
    return FloatModel(write_tflite(model), INPUT, mean, *(scale or [1.0]))


def _only_reader(graph: Any, operator: Any) -> bool:
    """Whether nobody else reads what `operator` reads first."""
    return sum(int(operator.inputs[0]) in other.inputs for other in graph.operators) == 1


def _constant(model: Any, tensor: int) -> float:
    data = model.buffers[model.subgraphs[0].tensors[tensor].buffer].data
    return float(np.frombuffer(bytes(data), np.float32)[0])


def observed_tensors(model: FloatModel) -> tuple[str, ...]:
    """Names of the activations whose ranges quantization needs, in graph order."""
    content = read_tflite(model.content)
    graph, floats = content.subgraphs[0], set(_float_ops(model)) - set(_FLOAT_OPS)
    made = [*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)]
    used = {
        tensor
        for operator in graph.operators
        if operator_name(content, operator).upper() not in floats
        for tensor in (*operator.inputs, *operator.outputs)
    }
    return tuple(graph.tensors[tensor].name.decode() for tensor in made if tensor in used)


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


def quantized(model: FloatModel, ranges: Ranges) -> bytes:
    """The INT8 model: input int8 (1, h, w, 1), the pixel minus 128; output float32 logits (1, labels).

    Raises ModelError where `ranges` lacks a tensor.
    """
    needed = {**ranges, model.input: model.input_range()}
    require_ranges(needed, observed_tensors(model), "TFLite")
    statistics = {
        name: {"min": np.array([[r.low]], np.float32), "max": np.array([[r.high]], np.float32)}
        for name, r in needed.items()
    }
    with quiet():
        from ai_edge_quantizer import qtyping, quantizer, recipe

        worker = quantizer.Quantizer(model.content, recipe.static_wi8_ai8())
        for kind in _float_ops(model):
            if kind in qtyping.TFLOperationName.__members__:
                worker.update_quantization_recipe(".*", qtyping.TFLOperationName[kind], algorithm_key="no_quantize")
        result = worker.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _float_ops(model: FloatModel) -> tuple[str, ...]:
    """The kinds of operators that stay float, by the names the schema has for them."""
    content = read_tflite(model.content)
    kinds = {operator_name(content, operator) for operator in content.subgraphs[0].operators}
    if not kinds & _ARITHMETIC:
        return _FLOAT_OPS
    return (*_FLOAT_OPS, *(kind.upper() for kind in sorted(kinds - set(_CONVS))))


def count_convs(path: Path) -> ConvCount:
    """Convolutions of the file, and those whose input, weights and output are int8."""
    model = read_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    convs = [operator for operator in graph.operators if operator_name(model, operator) in _CONVS]

    def is_int8(operator: Any) -> bool:
        tensors = (*operator.inputs[:2], *operator.outputs)
        return all(graph.tensors[tensor].type == schema.TensorType.INT8 for tensor in tensors)

    return ConvCount(len(convs), sum(map(is_int8, convs)))
