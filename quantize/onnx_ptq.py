"""Post-training quantization of ONNX with onnxruntime: INT8 in QDQ form."""

from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from quantize.onnx_graph import FloatGraph
from quantize.qdq_graph import take_raw_faces
from quantize.ranges import Ranges, require_ranges
from quantize.recipes import Recipe

# Where a graph does arithmetic on feature maps (hard-swish, SimAM, GroupNorm, gates), eight bits for that ruin the
# answer: there the convolutions alone are integer, and whatever stands between them stays float.
_ARITHMETIC = {"HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Softmax", "Div", "Sqrt", "Reciprocal", "Exp", "Pow"}
_CONVOLUTIONS = ("Conv", "Gemm", "MatMul")
# The logits stay float: eight bits for them cost half a point of agreement, and integer kernels give float for free.
# The global average stays float too, as it is a sum that integers would only round: quantizing it changed no figure.
_LAST_LAYERS = ["Gemm", "MatMul"]


def op_types(graph: FloatGraph, recipe: Recipe | None = None) -> tuple[str, ...]:
    """The kinds of operators that become integer by `recipe`; without one, those any recipe may make integer."""
    wanted = Recipe.ops if recipe is None else recipe.ops
    return tuple(kind for kind in wanted if kind in _CONVOLUTIONS) if does_arithmetic(graph) else wanted


def does_arithmetic(graph: FloatGraph) -> bool:
    """Whether such arithmetic stands between layers that may be integer; before the first or after the last it may."""
    nodes = graph.body.graph.node  # in topological order, as ONNX has it
    made: set[str] = set()
    for node in nodes:
        if node.op_type in _CONVOLUTIONS or made & set(node.input):
            made.update(node.output)
    needed: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in _ARITHMETIC and made & set(node.input) and needed & set(node.output):
            return True
        if node.op_type in _CONVOLUTIONS or needed & set(node.output):
            needed.update(node.input)
    return False


def observed_tensors(graph: FloatGraph) -> tuple[str, ...]:
    """Names of the activations whose ranges quantization may need, in graph order."""
    body = graph.body.graph
    constants = {tensor.name for tensor in body.initializer}
    entry = {graph.input: onnx.TensorProto.FLOAT} if graph.scaling is not None else {}
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*body.value_info, *body.output)} | entry
    attention, integer = set(_attention(graph)), op_types(graph)
    names = (
        name
        for node in body.node
        if node.op_type in integer and node.name not in attention
        for name in (*node.input, *node.output)
        # Sums of shapes are integers, and a raw input whose scaling could not be taken off is too.
        if name and name not in constants and kinds.get(name) == onnx.TensorProto.FLOAT
    )
    return tuple(dict.fromkeys(names))


def quantized(graph: FloatGraph, ranges: Ranges, recipe: Recipe) -> onnx.ModelProto:
    """The INT8 model: `faces` (n, 1, h, w) goes straight into DequantizeLinear; logits are float32.

    With "u8" activations the faces are uint8, with "s8" int8, the pixel minus 128. With "s8-symmetric" they are uint8
    and the scaling stays in front, in float. Raises ModelError where `ranges` lacks a tensor.
    """
    pixel = {} if graph.scaling is None else {graph.input: graph.scaling.range()}
    needed = {**ranges, **pixel}
    require_ranges(needed, observed_tensors(graph), "ONNX")
    model = onnx.ModelProto()
    model.CopyFrom(graph.body)
    quantizer = QDQQuantizer(
        model,
        per_channel=recipe.per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if recipe.activations == "u8" else QuantType.QInt8,
        tensors_range=_tensors_data(needed),
        nodes_to_quantize=[],
        nodes_to_exclude=[*recipe.exclude, *_attention(graph)],
        op_types_to_quantize=list(op_types(graph, recipe)),
        extra_options=_options(recipe.activations == "s8-symmetric"),
    )
    # quantize_static takes faces only; the class below it takes ranges, so data and cache go one way.
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    finished = quantizer.model.model
    take_raw_faces(finished, graph, recipe.activations)
    return finished


def _options(symmetric: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": _LAST_LAYERS}
    if symmetric:
        # TensorRT: zero point 0, float biases, and one reader for each pair of Q and DQ.
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True}
        options |= {"QuantizeBias": False, "DedicatedQDQPair": True}
    return options


def _attention(graph: FloatGraph) -> list[str]:
    """Additions of a constant: of attention (SimAM's energies) or normalisation, never of a shortcut.

    Eight bits for them cost an attention network everything, and there is no integer kernel beside them.
    """
    constants = {tensor.name for tensor in graph.body.graph.initializer}
    return [n.name for n in graph.body.graph.node if n.op_type == "Add" and constants & set(n.input)]


def _tensors_data(ranges: Ranges) -> TensorsData:
    data = {name: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high)) for name, r in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)
