"""Post-training quantization of ONNX: INT8 in QDQ form, the raw uint8 pixel being the first quantized tensor."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from fer_edge.errors import ModelError

from quantize.ranges import Range, Ranges, require_ranges

RECIPE = "QDQ u8 activations, s8 weights per channel"
# The global average stays float, as it is a sum that integers would only round: quantizing it changed no figure.
OP_TYPES = ("Conv", "Gemm", "Add", "Relu")
# Where a graph does arithmetic on feature maps (hard-swish, SimAM, GroupNorm, gates), eight bits for that ruin the
# answer: there the convolutions alone are integer, and whatever stands between them stays float.
_ARITHMETIC = {"HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Softmax", "Div", "Sqrt", "Reciprocal", "Exp", "Pow"}
_CONVOLUTIONS = ("Conv", "Gemm")
# The logits stay float: eight bits for them cost half a point of agreement, and integer kernels give float for free.
_FLOAT_OUTPUT = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
_SCALING = ["Cast", "Sub", "Mul"]
_INPUT = "faces"
_BATCH = 32


@dataclass(frozen=True)
class FloatGraph:
    """A float ONNX model without its scaling: `body` takes `input` (n, 1, h, w) float32, (pixel - mean) * scale."""

    body: onnx.ModelProto
    input: str
    pixel_mean: float
    pixel_scale: float

    def normalised(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw faces (n, h, w) uint8 -> what the body takes, (n, 1, h, w) float32."""
        return ((faces[:, None].astype(np.float32) - self.pixel_mean) * self.pixel_scale).astype(np.float32)

    def input_range(self) -> Range:
        """What the pixels 0 and 255 become: 8 bits over it have the scale `pixel_scale`, zero point `pixel_mean`."""
        return Range(-self.pixel_mean * self.pixel_scale, (255 - self.pixel_mean) * self.pixel_scale)


def float_graph(path: Path) -> FloatGraph:
    """Read a float model that `export` wrote. Raises ModelError where it does not begin with Cast, Sub, Mul."""
    model = onnx.load(path)
    graph = model.graph
    head = list(graph.node[:3])
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used = [node.input[1] for node in head[1:] if len(node.input) == 2]
    if [node.op_type for node in head] != _SCALING or any(name not in constants for name in used):
        raise ModelError(f"{path}: expected a graph that begins with Cast, Sub, Mul. Export it again: `make export`.")
    mean, scale = (numpy_helper.to_array(constants[name]).item() for name in used)
    normalised = head[2].output[0]
    _drop(graph, head, [constants[name] for name in used])
    _retype_input(graph, normalised, TensorProto.FLOAT)
    return FloatGraph(onnx.shape_inference.infer_shapes(model), normalised, mean, scale)


def _drop(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> None:
    for node in nodes:
        graph.node.remove(node)
    for tensor in tensors:
        graph.initializer.remove(tensor)


def _retype_input(graph: onnx.GraphProto, name: str, kind: int) -> None:
    """Give the graph's input another name and element type; its shape stays."""
    entry = helper.make_tensor_value_info(name, kind, None)
    entry.type.tensor_type.shape.CopyFrom(graph.input[0].type.tensor_type.shape)
    del graph.input[:]
    graph.input.append(entry)


def op_types(graph: FloatGraph) -> tuple[str, ...]:
    """The kinds of operators that become integer."""
    does_arithmetic = any(node.op_type in _ARITHMETIC for node in graph.body.graph.node)
    return _CONVOLUTIONS if does_arithmetic else OP_TYPES


def observed_tensors(graph: FloatGraph) -> tuple[str, ...]:
    """Names of the activations whose ranges quantization needs, in graph order."""
    constants, kinds = {tensor.name for tensor in graph.body.graph.initializer}, op_types(graph)
    names = (
        name
        for node in graph.body.graph.node
        if node.op_type in kinds
        for name in (*node.input, *node.output)
        if name and name not in constants
    )
    return tuple(dict.fromkeys(names))


def activations(graph: FloatGraph, faces: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run faces (n, h, w) uint8 through the float body: for each batch every observed tensor, (batch, ...) float32."""
    names = [name for name in observed_tensors(graph) if name != graph.input]
    model = onnx.ModelProto()
    model.CopyFrom(graph.body)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = _session(model.SerializeToString())
    for start in range(0, len(faces), _BATCH):
        batch = graph.normalised(faces[start : start + _BATCH])
        yield dict(zip(names, session.run(names, {graph.input: batch}), strict=True))


def _session(model: bytes | str, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        # The level above adds layouts of this very machine's processor, which cannot be saved.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantized(graph: FloatGraph, ranges: Ranges) -> onnx.ModelProto:
    """The INT8 model: `faces` (n, 1, h, w) uint8 goes straight into DequantizeLinear; logits are float32.

    Raises ModelError where `ranges` lacks a tensor.
    """
    needed = {**ranges, graph.input: graph.input_range()}
    require_ranges(needed, observed_tensors(graph), "ONNX")
    model = onnx.ModelProto()
    model.CopyFrom(graph.body)
    # quantize_static takes faces only; the class below it takes ranges, so data and cache go one way.
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        # Not QInt8: on x86 that fuses 4 convolutions of 26 and is four times slower; on Arm both fuse.
        activation_qType=QuantType.QUInt8,
        tensors_range=_tensors_data(needed),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(op_types(graph)),
        extra_options=_FLOAT_OUTPUT,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    _take_pixels(quantizer.model.model, graph.input)
    _shorten_names(quantizer.model.model)
    onnx.checker.check_model(quantizer.model.model, full_check=True)
    return quantizer.model.model


def _tensors_data(ranges: Ranges) -> TensorsData:
    data = {name: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high)) for name, r in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)


def _take_pixels(model: onnx.ModelProto, float_input: str) -> None:
    """Drop the QuantizeLinear on the input: the raw pixel already is the quantized value."""
    graph = model.graph
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == float_input)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[position] = _INPUT
    graph.node.remove(first)
    _retype_input(graph, _INPUT, TensorProto.UINT8)


def _shorten_names(model: onnx.ModelProto) -> None:
    """Name tensors t0, t1, ... and nodes not at all: in a small network the quantizer's long names weigh a tenth."""
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    short: dict[str, str] = {}

    def renamed(name: str) -> str:
        return name if not name or name in kept else short.setdefault(name, f"t{len(short)}")

    for node in graph.node:
        node.name = ""
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
    for tensor in graph.initializer:
        tensor.name = renamed(tensor.name)
    # Shapes in between are inferred again by whoever loads the model.
    del graph.value_info[:]


@dataclass(frozen=True)
class ConvCount:
    """Convolutions of a model, and how many of them run on integers."""

    convs: int
    int8_convs: int


def count_convs(path: Path) -> ConvCount:
    """Convolutions and QLinearConv in the graph onnxruntime makes of the file: the file alone proves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        _session(str(path), optimised)
        kinds = [node.op_type for node in onnx.load(optimised).graph.node]
    integer = kinds.count("QLinearConv")
    return ConvCount(integer + kinds.count("Conv") + kinds.count("FusedConv"), integer)
