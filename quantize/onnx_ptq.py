"""Post-training quantization of ONNX: full INT8 in QDQ form, the raw uint8 pixel being the first quantized tensor."""

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

from quantize.ranges import Range, missing_ranges

# Ops outside this list stay float. The global average is one: quantized it would cost accuracy and save nothing.
OP_TYPES = ("Conv", "Gemm", "Add", "Relu")
RECIPE = "qdq u8 activations, s8 weights per channel"
_SCALING = ["Cast", "Sub", "Mul"]
_BATCH = 32


@dataclass(frozen=True)
class FloatGraph:
    """A float ONNX model without its scaling: `body` takes `input` (n, 1, h, w) float32, (pixel - mean) * scale."""

    body: onnx.ModelProto
    input: str
    pixel_mean: float
    pixel_scale: float

    def normalised(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw faces (n, h, w) -> what the body takes, (n, 1, h, w)."""
        scaled: NDArray[np.float32] = (faces[:, None].astype(np.float32) - self.pixel_mean) * self.pixel_scale
        return scaled.astype(np.float32)

    def input_range(self) -> Range:
        """What the pixels 0 and 255 become: a range that gives scale `pixel_scale` and zero point `pixel_mean`."""
        return Range((0 - self.pixel_mean) * self.pixel_scale, (255 - self.pixel_mean) * self.pixel_scale)


def float_graph(path: Path) -> FloatGraph:
    """Read a float model that `export` wrote. Raises ModelError where it does not begin with Cast, Sub, Mul."""
    model = onnx.load(path)
    head = list(model.graph.node[:3])
    if [node.op_type for node in head] != _SCALING:
        raise ModelError(f"{path}: expected a graph that begins with Cast, Sub, Mul. Export it again: `make export`.")
    constants = {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer if not tensor.dims}
    mean, scale = constants[head[1].input[1]], constants[head[2].input[1]]
    shape = model.graph.input[0].type.tensor_type.shape
    for node in head:
        model.graph.node.remove(node)
    for tensor in [t for t in model.graph.initializer if t.name in (head[1].input[1], head[2].input[1])]:
        model.graph.initializer.remove(tensor)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(head[2].output[0], TensorProto.FLOAT, None))
    model.graph.input[0].type.tensor_type.shape.CopyFrom(shape)
    return FloatGraph(onnx.shape_inference.infer_shapes(model), head[2].output[0], mean, scale)


def observed_tensors(graph: FloatGraph) -> tuple[str, ...]:
    """Names of the activations whose ranges quantization needs, in graph order."""
    constants = {tensor.name for tensor in graph.body.graph.initializer}
    names = [
        name
        for node in graph.body.graph.node
        if node.op_type in OP_TYPES
        for name in (*node.input, *node.output)
        if name and name not in constants
    ]
    return tuple(dict.fromkeys(names))


def activations(graph: FloatGraph, faces: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run faces (n, h, w) through the float body: for each batch, every observed tensor's values, (batch, ...)."""
    names = observed_tensors(graph)
    model = onnx.ModelProto()
    model.CopyFrom(graph.body)
    outputs = {output.name for output in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in outputs and name != graph.input
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    fetched = [output.name for output in session.get_outputs()]
    for start in range(0, len(faces), _BATCH):
        batch = graph.normalised(faces[start : start + _BATCH])
        values = dict(zip(fetched, session.run(fetched, {graph.input: batch}), strict=True))
        yield {name: batch if name == graph.input else values[name] for name in names}


def quantized(graph: FloatGraph, ranges: dict[str, Range]) -> onnx.ModelProto:
    """The INT8 model: `faces` (n, 1, h, w) uint8 goes straight into DequantizeLinear; logits are float32.

    Raises ModelError where `ranges` lacks a tensor.
    """
    needed = {**ranges, graph.input: graph.input_range()}
    missing_ranges(needed, observed_tensors(graph), "ONNX")
    data = {name: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high)) for name, r in needed.items()}
    model = onnx.ModelProto()
    model.CopyFrom(graph.body)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(OP_TYPES),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result = quantizer.model.model
    _take_pixels(result, graph.input)
    onnx.checker.check_model(result)
    return result


def _take_pixels(model: onnx.ModelProto, float_input: str) -> None:
    """Drop the QuantizeLinear on the input: the raw pixel already is the quantized value."""
    graph = model.graph
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == float_input)
    pixels = helper.make_tensor_value_info("faces", TensorProto.UINT8, None)
    pixels.type.tensor_type.shape.CopyFrom(graph.input[0].type.tensor_type.shape)
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[position] = pixels.name
    graph.node.remove(first)
    del graph.input[:]
    graph.input.append(pixels)


@dataclass(frozen=True)
class ConvCount:
    """Convolutions of a model, and how many of them run on integers."""

    convs: int
    int8_convs: int


def count_convs(path: Path) -> ConvCount:
    """Count Conv and QLinearConv in the graph onnxruntime really runs: the file alone proves nothing."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    integer = kinds.count("QLinearConv")
    return ConvCount(integer + kinds.count("Conv") + kinds.count("FusedConv"), integer)
