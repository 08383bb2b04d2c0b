"""Preprocessing into the graph: the published files take raw pixels, so that a board cannot get their range wrong."""

import numpy as np
import onnx
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.adopt.answers import Feeding
from export.adopt.network import Network
from export.metadata import read_tflite, write_tflite
from export.onnx_model import INPUT, OUTPUT


def channel_values(values: tuple[float, ...], layout: str) -> NDArray[np.float32]:
    """One value a channel, shaped to go with a tensor of this layout; a single number where they are all the same."""
    if len(set(values)) == 1:
        return np.array(values[0], dtype=np.float32)
    return np.array(values, dtype=np.float32).reshape((1, -1, 1, 1) if layout == "NCHW" else (1, 1, 1, -1))


def onnx_with_scaling(network: Network, feeding: Feeding) -> onnx.ModelProto:
    """The network's graph with raw uint8 `faces` in, in its own layout, and `logits` out."""
    assert network.graph is not None
    model = onnx.ModelProto()
    model.CopyFrom(network.graph)
    graph = model.graph
    _rename(graph, graph.input[0].name, "normalised")
    _rename(graph, graph.output[0].name, OUTPUT)
    shape = [size if size > 0 else "n" for size in network.input.shape]
    body, head = list(graph.node), _scaling_nodes(graph, network, feeding)
    del graph.node[:]
    graph.node.extend([*head, *body])
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    del graph.value_info[:]
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _scaling_nodes(graph: onnx.GraphProto, network: Network, feeding: Feeding) -> list[onnx.NodeProto]:
    if network.takes_raw_pixels:
        return [helper.make_node("Identity", [INPUT], ["normalised"], "scaling/none")]
    for name in ("pixels", "pixel_mean", "centred", "pixel_scale"):
        _make_way(graph, name)
    nodes = [helper.make_node("Cast", [INPUT], ["pixels"], "scaling/cast", to=TensorProto.FLOAT)]
    if any(feeding.mean):
        _constant(graph, "pixel_mean", channel_values(feeding.mean, network.layout))
        nodes.append(helper.make_node("Sub", ["pixels", "pixel_mean"], ["centred"], "scaling/centre"))
    inverse = tuple(1 / value for value in feeding.std)
    _constant(graph, "pixel_scale", channel_values(inverse, network.layout))
    nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "pixel_scale"], ["normalised"], "scaling/scale"))
    return nodes


def _constant(graph: onnx.GraphProto, name: str, value: NDArray[np.float32]) -> None:
    graph.initializer.append(numpy_helper.from_array(value, name))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a tensor another name; one that has it already makes way."""
    if old == new:
        return
    _make_way(graph, new)
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
    for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if entry.name == old:
            entry.name = new


def _make_way(graph: onnx.GraphProto, name: str) -> None:
    """Rename the tensor of the network that has this name."""
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if name in taken | {tensor.name for tensor in graph.initializer}:
        _rename(graph, name, f"{name}_of_the_network")


class RawFaces(nn.Module):
    """A torch network behind the layout and the pixels that a .tflite file takes; with `scales` it takes floats."""

    def __init__(self, network: nn.Module, feeding: Feeding, layout: str, *, scales: bool) -> None:
        super().__init__()
        self.network, self.moves, self.scales = network, layout == "NCHW", scales
        self.register_buffer("mean", torch.from_numpy(channel_values(feeding.mean, "NHWC")))
        inverse = tuple(1 / value for value in feeding.std)
        self.register_buffer("scale", torch.from_numpy(channel_values(inverse, "NHWC")))

    def forward(self, faces: Tensor) -> Tensor:
        """(1, h, w, c) uint8 -> (1, classes) float32."""
        scaled = (faces.to(torch.float32) - self.mean) * self.scale if self.scales else faces
        made: Tensor = self.network(scaled.permute(0, 3, 1, 2) if self.moves else scaled)
        return made.flatten(1)


def tflite_with_scaling(content: bytes, feeding: Feeding, layout: str) -> bytes:
    """A float .tflite of this layout with raw uint8 pixels in: CAST, SUB and MUL before its first operator."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    normalised = graph.inputs[0]
    raw = _tensor(model, "faces", schema.TensorType.UINT8, graph.tensors[normalised].shape)
    cast = _tensor(model, "pixels", schema.TensorType.FLOAT32, graph.tensors[normalised].shape)
    centred = _tensor(model, "centred", schema.TensorType.FLOAT32, graph.tensors[normalised].shape)
    mean = _tflite_constant(model, "pixel_mean", channel_values(feeding.mean, layout))
    scale = _tflite_constant(model, "pixel_scale", channel_values(tuple(1 / value for value in feeding.std), layout))
    head = [
        _operator(model, "CAST", [raw], cast, schema.BuiltinOptions.CastOptions, schema.CastOptionsT()),
        _operator(model, "SUB", [cast, mean], centred, schema.BuiltinOptions.SubOptions, schema.SubOptionsT()),
        _operator(model, "MUL", [centred, scale], normalised, schema.BuiltinOptions.MulOptions, schema.MulOptionsT()),
    ]
    graph.operators = [*head, *graph.operators]
    graph.inputs = [raw]
    _sign(model, raw, graph.outputs[0])
    return write_tflite(model)


def keep_one_output(content: bytes, name: str) -> bytes:
    """The .tflite `content` with the output called `name` alone, and a signature that says so."""
    model = read_tflite(content)
    graph = model.subgraphs[0]
    kept = [index for index in graph.outputs if (graph.tensors[index].name or b"").decode() == name]
    graph.outputs = kept or graph.outputs
    _sign(model, graph.inputs[0], graph.outputs[0])
    return write_tflite(model)


def _sign(model: schema.ModelT, entry: int, output: int) -> None:
    """One signature, `serving_default`: faces in, logits out. Quantizers find tensors by it."""
    maps = []
    for name, index in ((INPUT, entry), (OUTPUT, output)):
        tensor = schema.TensorMapT()
        tensor.name, tensor.tensorIndex = name.encode(), int(index)
        maps.append(tensor)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = maps[:1], maps[1:]
    model.signatureDefs = [signature]


def _tensor(model: schema.ModelT, name: str, kind: int, shape: NDArray[np.int32] | list[int]) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.buffer = name.encode(), kind, [int(size) for size in shape], 0
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _tflite_constant(model: schema.ModelT, name: str, numbers: NDArray[np.float32]) -> int:
    index = _tensor(model, name, schema.TensorType.FLOAT32, list(numbers.shape) or [1])
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(numbers.astype("<f4").tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    model.subgraphs[0].tensors[index].buffer = len(model.buffers) - 1
    return index


def _operator(
    model: schema.ModelT, kind: str, inputs: list[int], output: int, options_type: int, options: object
) -> schema.OperatorT:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    return operator
