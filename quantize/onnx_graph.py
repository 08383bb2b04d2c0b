"""A float ONNX model before quantization: its body without the scaling of pixels, and what happens inside it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import METADATA_KEY, ModelContract, parse_contract
from fer_edge.errors import ModelError

from quantize.ranges import Range

_BATCH = 32
_AFFINE = ("Sub", "Add", "Mul", "Div")
_TO_NCHW = (0, 3, 1, 2)


@dataclass(frozen=True)
class Scaling:
    """Scaling of a raw pixel before the first layer: (pixel - mean) * scale, the mean a whole pixel value."""

    mean: float
    scale: float

    def range(self) -> Range:
        """Range of the scaled pixels 0 to 255: 8 bits over it have the scale `scale` and the zero point `mean`."""
        return Range(-self.mean * self.scale, (255 - self.mean) * self.scale)


@dataclass(frozen=True)
class FloatGraph:
    """A float ONNX model, its scaling taken off where a raw pixel can be its first integer.

    `body` then takes `input` (n, c, h, w) float32, whatever the layout of the contract; where `scaling` is None it
    takes what the contract says.
    """

    body: onnx.ModelProto
    input: str
    contract: ModelContract
    scaling: Scaling | None

    def feed(self, faces: NDArray[np.uint8]) -> NDArray[Any]:
        """Raw faces, grey (n, h, w) or BGR (n, h, w, 3) uint8 -> what the body takes."""
        if self.scaling is None:
            return self.contract.model_input(faces)
        pixels = self.pixels(faces).astype(np.float32)
        return ((pixels - self.scaling.mean) * self.scaling.scale).astype(np.float32)

    def pixels(self, faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Raw faces in the model's size and colours, (n, c, h, w) uint8."""
        tensor = self.contract.model_input(faces)
        return np.moveaxis(tensor, 3, 1) if self.contract.input.layout == "NHWC" else tensor


def float_graph(path: Path) -> FloatGraph:
    """Read a float model with a contract. Raises ModelError where it cannot be quantized."""
    model = onnx.load(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    contract = parse_contract(properties.get(METADATA_KEY, ""), str(path))
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise ModelError(f"{path}: already quantized. Give the float model it was made from.")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < 13:
        raise ModelError(f"{path}: opset {opset}, expected 13 or newer (INT8 per channel). Export it with opset 17.")
    del model.metadata_props[:]
    _normalise(model)
    head, scaling = _scaling_head(model, contract)
    if scaling is not None:
        normalised = head[-1].output[0]
        for node in head:
            model.graph.node.remove(node)
        drop_unused(model.graph)
        retype_input(model.graph, normalised, TensorProto.FLOAT)
        if contract.input.layout == "NHWC":
            dims = model.graph.input[0].type.tensor_type.shape.dim
            channels = onnx.TensorShapeProto.Dimension()
            channels.CopyFrom(dims[3])
            dims.insert(1, channels)
            del dims[4]
    del model.graph.value_info[:]  # it may still describe what was taken off
    model = onnx.shape_inference.infer_shapes(model)
    return FloatGraph(model, model.graph.input[0].name, contract, scaling)


def with_body(graph: FloatGraph, body: onnx.ModelProto) -> FloatGraph:
    """The float model with another body that takes the same, such as one whose weights were trained on."""
    _normalise(body)
    del body.graph.value_info[:]
    body = onnx.shape_inference.infer_shapes(body)
    return FloatGraph(body, body.graph.input[0].name, graph.contract, graph.scaling)


def _normalise(model: onnx.ModelProto) -> None:
    """Name every node, as what has no name cannot be excluded; constants become initializers, and none is an input."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        value = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if value is not None:
            value.name = node.output[0]
            model.graph.initializer.append(value)
            model.graph.node.remove(node)
    weights = {tensor.name for tensor in model.graph.initializer}
    for entry in [entry for entry in model.graph.input if entry.name in weights]:
        model.graph.input.remove(entry)


def _scaling_head(model: onnx.ModelProto, contract: ModelContract) -> tuple[list[onnx.NodeProto], Scaling | None]:
    """The nodes from the input that are Cast, arithmetic with one number or a change of layout, and what they do."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    head: list[onnx.NodeProto] = []
    scale, offset, value = 1.0, 0.0, model.graph.input[0].name
    is_nchw = contract.input.layout == "NCHW"
    for node in model.graph.node:
        number = constants.get(node.input[1]) if len(node.input) == 2 else None
        arithmetic = node.op_type in _AFFINE and number is not None and number.size == 1
        moves = not is_nchw and _makes_nchw(node, number, contract)
        follows = bool(node.input) and node.input[0] == value and readers[value] == 1
        if not follows or not (node.op_type == "Cast" or arithmetic or moves):
            break
        if arithmetic and number is not None:
            scale, offset = _after(node.op_type, scale, offset, float(number.reshape(())))
        is_nchw |= moves
        head.append(node)
        value = node.output[0]
    mean = -offset / scale if scale else -1.0
    whole = abs(mean - round(mean)) < 1e-4 and 0 <= round(mean) <= 255
    fits = contract.input.dtype == "uint8" and is_nchw and head and scale > 0 and whole
    return head, Scaling(float(round(mean)), scale) if fits else None


def _makes_nchw(node: onnx.NodeProto, shape: NDArray[Any] | None, contract: ModelContract) -> bool:
    """Whether a node turns (n, h, w, c) into (n, c, h, w); for one channel a reshape does."""
    if node.op_type == "Reshape" and contract.input.channels > 1:
        return False
    if node.op_type == "Transpose":
        return tuple(next((a.ints for a in node.attribute if a.name == "perm"), ())) == _TO_NCHW
    nchw_face = (1, contract.input.height_px, contract.input.width_px)
    return node.op_type == "Reshape" and shape is not None and tuple(shape.reshape(-1)[1:].tolist()) == nchw_face


def _after(kind: str, scale: float, offset: float, number: float) -> tuple[float, float]:
    if kind in ("Mul", "Div"):
        factor = number if kind == "Mul" else 1 / number
        return scale * factor, offset * factor
    return scale, offset + (number if kind == "Add" else -number)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the initializers that no node reads."""
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def retype_input(graph: onnx.GraphProto, name: str, kind: int) -> None:
    """Give the graph's input another name and element type; its shape stays."""
    entry = helper.make_tensor_value_info(name, kind, None)
    entry.type.tensor_type.shape.CopyFrom(graph.input[0].type.tensor_type.shape)
    del graph.input[:]
    graph.input.append(entry)


def activations(
    graph: FloatGraph, model: onnx.ModelProto, names: tuple[str, ...], faces: NDArray[np.uint8]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Run raw faces through `model`, a float body or one in QDQ form that takes the same.

    Yields for each batch the tensors `names`, each (batch, ...) float32.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = session_of(probe.SerializeToString())
    entry = session.get_inputs()[0]
    batch = 1 if entry.shape[0] == 1 else _BATCH
    for start in range(0, len(faces), batch):
        part = faces[start : start + batch]
        yield dict(zip(names, session.run(list(names), {entry.name: _fed(graph, part, entry.type)}), strict=True))


def _fed(graph: FloatGraph, faces: NDArray[np.uint8], kind: str) -> NDArray[Any]:
    """Raw faces as the body takes them, or as the model does whose input has become the pixel."""
    if graph.scaling is None or kind == "tensor(float)":
        return graph.feed(faces)
    pixels = graph.pixels(faces)
    return pixels if kind == "tensor(uint8)" else (pixels.astype(np.int16) - 128).astype(np.int8)


def session_of(
    model: bytes | str, optimised: Path | None = None, *, as_on_arm: bool = False
) -> onnxruntime.InferenceSession:
    """A session on one thread; writes the graph it optimised to where `optimised` says.

    `as_on_arm` keeps signed activations signed, as onnxruntime does on Arm alone.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if as_on_arm:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        # The level above adds layouts of this very machine's processor, which cannot be saved.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
