"""Post-training quantization of ONNX with onnxruntime: INT8 in QDQ form."""

import math
from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from quantize.onnx_graph import FloatGraph
from quantize.qdq_graph import take_raw_faces
from quantize.ranges import Range, Ranges, require_ranges
from quantize.recipes import Recipe
from quantize.sensitivity import Choice

# A Relu or Clip behind one of them is the range of its output and costs nothing.
CONVOLUTIONS = ("Conv", "Gemm", "MatMul", "Relu", "Clip")
# What else onnxruntime has integer kernels for, or moves without computing; measuring decides which of them pay.
_OPTIONAL = ("Add", "Mul", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Resize", "Sigmoid", "LeakyRelu")
_OPTIONAL += ("HardSigmoid", "HardSwish", "Pad")
# The logits stay float: eight bits for them cost half a point of agreement, and integer kernels give float for free.
# The global average stays float too, as it is a sum that integers would only round: quantizing it changed no figure.
_LAST_LAYERS = ["Gemm", "MatMul"]


def optional_operators(graph: FloatGraph) -> tuple[str, ...]:
    """Kinds of operators in the graph that may be integer or float, the most frequent first."""
    found = Counter(node.op_type for node in graph.body.graph.node)
    return tuple(sorted((kind for kind in _OPTIONAL if found[kind]), key=lambda kind: -found[kind]))


def convolution_layers(graph: FloatGraph) -> dict[str, int]:
    """The convolutions by name, in graph order, each with its multiplications for one face."""
    body = graph.body.graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in body.initializer}
    shapes = {
        value.name: [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]
        for value in (*body.value_info, *body.output)
    }
    return {
        node.name: math.prod(shapes.get(node.output[0], [1])) * math.prod(weights.get(node.input[1], (1, 1))[1:])
        for node in body.node
        if node.op_type == "Conv"
    }


def observed_tensors(graph: FloatGraph, operators: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the activations whose ranges `operators` need (default: all that may be integer), in graph order."""
    body = graph.body.graph
    constants = {tensor.name for tensor in body.initializer}
    entry = {graph.input: onnx.TensorProto.FLOAT} if graph.scaling is not None else {}
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in (*body.value_info, *body.output)
        if value.type.tensor_type.shape.dim  # one number, such as a regulariser, is no activation
    } | entry
    chosen = (*CONVOLUTIONS, *(_OPTIONAL if operators is None else operators))
    skipped = set(_constant_additions(graph))
    names = (
        name
        for node in body.node
        if node.op_type in chosen and node.name not in skipped
        for name in (*node.input, *node.output)
        # Sums of shapes are integers, and a raw input whose scaling could not be taken off is too.
        if name and name not in constants and kinds.get(name) == onnx.TensorProto.FLOAT
    )
    return tuple(dict.fromkeys(names))


def quantized(graph: FloatGraph, ranges: Ranges, recipe: Recipe, choice: Choice) -> onnx.ModelProto:
    """The INT8 model: `faces` (n, 1, h, w) goes straight into DequantizeLinear; logits are float32.

    `choice` names the optional operators that become integer and the layers that do not. With "u8" activations the
    faces are uint8, with "s8" int8, the pixel minus 128. With "s8-symmetric" they are uint8 and the scaling stays in
    front, in float. Raises ModelError where `ranges` lacks a tensor.
    """
    pixel: dict[str, Range] = {} if graph.scaling is None else {graph.input: graph.scaling.range()}
    needed = {**seen_ranges(graph, ranges), **pixel}
    require_ranges(needed, observed_tensors(graph, choice.operators), "ONNX")
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
        nodes_to_exclude=[*recipe.exclude, *choice.float_layers, *_constant_additions(graph)],
        op_types_to_quantize=[*CONVOLUTIONS, *choice.operators],
        extra_options=_options(recipe.activations == "s8-symmetric"),
    )
    # quantize_static takes faces only; the class below it takes ranges, so data and cache go one way.
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    finished = quantizer.model.model
    take_raw_faces(finished, graph, recipe.activations)
    return finished


def seen_ranges(graph: FloatGraph, ranges: Ranges) -> Ranges:
    """The ranges without what no reader can tell apart: a hard swish makes 0 of all below -3, a hard sigmoid of more.

    Nothing is lost by clipping there, and the steps get finer.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.body.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    seen = dict(ranges)
    for name in ranges.keys() & readers.keys():
        limits = [_saturation(node) for node in readers[name]]
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        kept = Range(max(ranges[name].low, low), min(ranges[name].high, high))
        if kept.low < kept.high:
            seen[name] = kept
    return seen


def _saturation(node: onnx.NodeProto) -> tuple[float, float]:
    """Inputs below and above which a node's output no longer changes."""
    if node.op_type == "HardSwish":
        return -3.0, math.inf
    if node.op_type == "HardSigmoid":
        given = {attribute.name: attribute.f for attribute in node.attribute}
        slope, offset = given.get("alpha", 0.2), given.get("beta", 0.5)
        return -offset / slope, (1 - offset) / slope
    return -math.inf, math.inf


def _options(symmetric: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": _LAST_LAYERS}
    if symmetric:
        # TensorRT: zero point 0, float biases, and one reader for each pair of Q and DQ.
        options |= {"ActivationSymmetric": True, "WeightSymmetric": True}
        options |= {"QuantizeBias": False, "DedicatedQDQPair": True}
    return options


def _constant_additions(graph: FloatGraph) -> list[str]:
    """Additions of a constant: of attention (SimAM's energies) or normalisation, never of a shortcut.

    Eight bits for them cost an attention network everything, and there is no integer kernel beside them.
    """
    constants = {tensor.name for tensor in graph.body.graph.initializer}
    return [n.name for n in graph.body.graph.node if n.op_type == "Add" and constants & set(n.input)]


def _tensors_data(ranges: Ranges) -> TensorsData:
    data = {name: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high)) for name, r in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)
