"""YuNet's published .onnx -> a float .tflite for any canvas: the same weights, written straight to the schema.

The file ends with the maps of the heads, (1, rows, columns, values) each: class and object logits, boxes and keypoints
for strides 8, 16 and 32. What the .onnx does behind them (transpose, reshape, sigmoid) is left to the runtime, which
does it for the few cells that see a face.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from fer_edge.detectors.canvas import STEP_PX
from fer_edge.detectors.yunet_network import OUTPUTS
from fer_edge.errors import ModelError, UsageError

from export.metadata import write_tflite

INPUT = "image"
_OP, _OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions
_BEHIND_THE_HEADS = ("Transpose", "Reshape", "Sigmoid")


@dataclass(frozen=True, eq=False)
class Layer:
    """One operation: `kind` is conv, relu, pool, double or add. It reads the values `inputs` and gives `output`.

    A conv has weight (out, in / groups, h, w) and bias (out,) float32, and the same `pad` on all sides.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    weight: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    stride: int = 1
    pad: int = 0

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved alone."""
        return self.weight is not None and self.weight.shape[1] == 1 and self.weight.shape[0] > 1


@dataclass(frozen=True)
class Network:
    """Layers in the order they run, from the image to the maps named as `fer_edge.detectors.yunet_network.OUTPUTS`."""

    layers: tuple[Layer, ...]


def read_yunet(path: Path) -> Network:
    """The published float network. Raises ModelError for an operation YuNet does not have."""
    graph = onnx.load(path).graph
    constants = {one.name: np.asarray(onnx.numpy_helper.to_array(one), np.float32) for one in graph.initializer}
    renamed = {graph.input[0].name: INPUT, **_maps(graph)}
    layers = []
    for node in graph.node:
        if node.op_type not in _BEHIND_THE_HEADS:
            layer = _layer(node, constants, path)
            inputs = tuple(renamed.get(name, name) for name in layer.inputs)
            layers.append(replace(layer, inputs=inputs, output=renamed.get(layer.output, layer.output)))
    return Network(tuple(layers))


def _maps(graph: Any) -> dict[str, str]:
    """The name of each output, by the name of the value that becomes it through what is behind the heads."""
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type in _BEHIND_THE_HEADS}
    found = {}
    for output in graph.output:
        name = output.name
        while name in source:
            name = source[name]
        found[name] = output.name
    return found


def _layer(node: Any, constants: dict[str, NDArray[np.float32]], path: Path) -> Layer:
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    output = node.output[0]
    if node.op_type == "Conv":
        weight, bias = constants[node.input[1]], constants[node.input[2]]
        return Layer("conv", (node.input[0],), output, weight, bias, options["strides"][0], options["pads"][0])
    if node.op_type == "MaxPool":
        return Layer("pool", (node.input[0],), output, stride=options["strides"][0])
    kinds = {"Relu": ("relu", 1), "Resize": ("double", 1), "Add": ("add", 2)}
    if node.op_type not in kinds:
        raise ModelError(f"{path}: operation {node.op_type}, expected those of YuNet. Is it YuNet?")
    kind, count = kinds[node.op_type]
    return Layer(kind, tuple(node.input[:count]), output)


def float_tflite(network: Network, width_px: int, height_px: int) -> bytes:
    """The network for a canvas of `width_px` x `height_px` as a float .tflite: input (1, h, w, 3) float32 BGR 0..255.

    Raises UsageError for sides that are no multiples of 32.
    """
    if min(width_px, height_px) < STEP_PX or width_px % STEP_PX or height_px % STEP_PX:
        raise UsageError(f"canvas {width_px}x{height_px}: expected sides that are multiples of {STEP_PX}, as 160x128.")
    writer = _Writer(_fused(network))
    writer.value(INPUT, (1, height_px, width_px, 3))
    for layer in writer.layers:
        getattr(writer, f"_{layer.kind}")(layer)
    return writer.content()


def _fused(network: Network) -> Iterator[tuple[Layer, bool]]:
    """Each layer, and whether it ends in a ReLU that nothing else stands before."""
    after = {layer.inputs[0]: layer for layer in network.layers if layer.kind == "relu"}
    for layer in network.layers:
        if layer.kind == "relu":
            continue
        relu = after.get(layer.output)
        yield (replace(layer, output=relu.output) if relu else layer), relu is not None


class _Writer:
    """Collects tensors and operators of one subgraph."""

    def __init__(self, layers: Iterator[tuple[Layer, bool]]) -> None:
        pairs = list(layers)
        self.layers = [layer for layer, _ in pairs]
        self._relu = {layer.output for layer, relu in pairs if relu}
        self._buffers = [schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[tuple[int, int]] = []
        self._index: dict[str, int] = {}

    def value(self, name: str, shape: tuple[int, ...]) -> int:
        self._index[name] = self._tensor(name, shape, schema.TensorType.FLOAT32)
        return self._index[name]

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, data: NDArray[Any] | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), kind
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self._buffers.append(buffer)
            tensor.buffer = len(self._buffers) - 1
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, name: str, values: NDArray[Any]) -> int:
        kind = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
        return self._tensor(name, values.shape, kind, values)

    def _operator(self, code: tuple[int, int], inputs: list[int], output: int, options: Any, kind: int) -> None:
        """`code` is an operator with its version."""
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes.index(code), inputs, [output]
        operator.builtinOptions, operator.builtinOptionsType = options, kind
        self._operators.append(operator)

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[self._index[name]].shape)

    def _padded(self, name: str, pad: int) -> int:
        """TensorFlow's SAME pads a stride of 2 on one side only; YuNet was trained with both."""
        one, height, width, channels = self._shape(name)
        amounts = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
        output = self.value(f"{name}_padded", (one, height + 2 * pad, width + 2 * pad, channels))
        inputs = [self._index[name], self._constant(f"{name}_pad", amounts)]
        self._operator((_OP.PAD, 1), inputs, output, schema.PadOptionsT(), _OPTIONS.PadOptions)
        return output

    def _conv(self, layer: Layer) -> None:
        assert layer.weight is not None and layer.bias is not None
        source = self._index[layer.inputs[0]]
        _, height, width, _ = self._shape(layer.inputs[0])
        options = schema.DepthwiseConv2DOptionsT() if layer.depthwise else schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        if layer.stride > 1:
            source, options.padding = self._padded(layer.inputs[0], layer.pad), schema.Padding.VALID
        options.strideW = options.strideH = layer.stride
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = self._activation(layer)
        laid_out = layer.weight.transpose((1, 2, 3, 0) if layer.depthwise else (0, 2, 3, 1))
        weight = self._constant(f"{layer.output}_weight", laid_out)
        bias = self._constant(f"{layer.output}_bias", layer.bias)
        output = self.value(layer.output, (1, height // layer.stride, width // layer.stride, len(layer.bias)))
        if layer.depthwise:
            options.depthMultiplier = 1
            code, kind = (_OP.DEPTHWISE_CONV_2D, 1), _OPTIONS.DepthwiseConv2DOptions
        else:
            code, kind = (_OP.CONV_2D, 1), _OPTIONS.Conv2DOptions
        self._operator(code, [source, weight, bias], output, options, kind)

    def _activation(self, layer: Layer) -> int:
        function = schema.ActivationFunctionType
        return int(function.RELU if layer.output in self._relu else function.NONE)

    def _pool(self, layer: Layer) -> None:
        one, height, width, channels = self._shape(layer.inputs[0])
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = layer.stride
        output = self.value(layer.output, (one, height // layer.stride, width // layer.stride, channels))
        inputs = [self._index[layer.inputs[0]]]
        self._operator((_OP.MAX_POOL_2D, 1), inputs, output, options, _OPTIONS.Pool2DOptions)

    def _double(self, layer: Layer) -> None:
        one, height, width, channels = self._shape(layer.inputs[0])
        size = self._constant(f"{layer.output}_size", np.array([2 * height, 2 * width], np.int32))
        output = self.value(layer.output, (one, 2 * height, 2 * width, channels))
        options, kind = schema.ResizeNearestNeighborOptionsT(), _OPTIONS.ResizeNearestNeighborOptions
        self._operator((_OP.RESIZE_NEAREST_NEIGHBOR, 1), [self._index[layer.inputs[0]], size], output, options, kind)

    def _add(self, layer: Layer) -> None:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = self._activation(layer)
        inputs = [self._index[name] for name in layer.inputs]
        output = self.value(layer.output, self._shape(layer.inputs[0]))
        self._operator((_OP.ADD, 1), inputs, output, options, _OPTIONS.AddOptions)

    def content(self) -> bytes:
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self._tensors, self._operators
        graph.inputs, graph.outputs = [self._index[INPUT]], [self._index[name] for name in OUTPUTS]
        model = schema.ModelT()
        model.version, model.description, model.subgraphs, model.buffers = 3, b"YuNet", [graph], self._buffers
        model.operatorCodes = []
        for number, version in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
            model.operatorCodes.append(code)
        return write_tflite(model)
