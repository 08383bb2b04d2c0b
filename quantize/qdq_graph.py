"""ONNX graphs after quantization, in QDQ form: pixels as the first integers, weights folded, what onnxruntime fuses."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from quantize.onnx_graph import FloatGraph, Scaling, drop_unused, retype_input, session_of

RAW_INPUT = "faces"
_INTEGER_TYPES = {TensorProto.UINT8: np.uint8, TensorProto.INT8: np.int8}
# Moves values without computing with them: float or integer, they cost the same.
_MOVES = ("Reshape", "Transpose", "Flatten", "Identity", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear")


def take_raw_faces(model: onnx.ModelProto, graph: FloatGraph, kind: str) -> None:
    """Make a QDQ model of the float body take raw faces, as `faces`.

    Where its input is quantized the raw pixel already is the quantized value, uint8, or with `kind` "s8" int8, the
    pixel minus 128. Where a first layer is float, and with "s8-symmetric", the scaling goes back in front.
    """
    if graph.scaling is None:
        return
    readers = [node for node in model.graph.node if graph.input in node.input]
    if kind != "s8-symmetric" and all(node.op_type == "QuantizeLinear" for node in readers):
        _take_pixels(model, graph.input, graph.scaling, kind)
    else:
        _put_scaling_back(model, graph.scaling)


def _take_pixels(model: onnx.ModelProto, entry: str, scaling: Scaling, kind: str) -> None:
    """Drop the QuantizeLinear on the input; the scale and zero point that follow become the scaling's own."""
    element, shift = (TensorProto.UINT8, 0) if kind == "u8" else (TensorProto.INT8, -128)
    nodes = model.graph.node
    firsts = [node for node in nodes if entry in node.input]
    zero = np.array(scaling.mean + shift, dtype=_INTEGER_TYPES[element])
    for first in firsts:
        for node in nodes:
            if first.output[0] in node.input:
                node.input[:] = [RAW_INPUT, "raw/scale", "raw/zero"]
        nodes.remove(first)
    scale = np.array(scaling.scale, dtype=np.float32)
    model.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in (("raw/scale", scale), ("raw/zero", zero))
    )
    drop_unused(model.graph)
    retype_input(model.graph, RAW_INPUT, element)


def _put_scaling_back(model: onnx.ModelProto, scaling: Scaling) -> None:
    """Put Cast, Sub, Mul before the model: its first integer is not the pixel, as TensorRT's must not be.

    The names are none of the body's, which keeps its own Sub and Mul where they differ by channel.
    """
    entry = model.graph.input[0].name
    steps = [helper.make_node("Cast", [RAW_INPUT], ["raw/pixels"], "raw/cast", to=TensorProto.FLOAT)]
    for kind, name, value in (("Sub", "raw/mean", scaling.mean), ("Mul", "raw/scale", scaling.scale)):
        if value != (0.0 if kind == "Sub" else 1.0):
            made = f"raw/{kind.lower()}"
            steps.append(helper.make_node(kind, [steps[-1].output[0], name], [made], made))
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    steps[-1].output[0] = entry
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*steps, *body])
    retype_input(model.graph, RAW_INPUT, TensorProto.UINT8)


def shorten_names(model: onnx.ModelProto) -> dict[str, str]:
    """Name tensors t0, t1, ... and nodes not at all: in a small network the long names weigh a tenth.

    Returns the old name of each new one.
    """
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
    return {new: old for old, new in short.items()}


def one_activation_type(model: onnx.ModelProto, kind: str) -> None:
    """Make every activation of a QDQ model unsigned ("u8") or signed ("s8"): zero points move by 128, values do not.

    NNCF mixes both; onnxruntime on Arm then fuses 6 of fer-nano's 15 convolutions.
    """
    expected_type, other = (
        (TensorProto.UINT8, TensorProto.INT8) if kind == "u8" else (TensorProto.INT8, TensorProto.UINT8)
    )
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear" and len(n.input) > 2}
    shift = 128 if kind == "u8" else -128
    for tensor in (constants[name] for name in names if constants[name].data_type == other):
        zero = numpy_helper.to_array(tensor).astype(np.int16) + shift
        tensor.CopyFrom(numpy_helper.from_array(zero.astype(_INTEGER_TYPES[expected_type]), tensor.name))
    del model.graph.value_info[:]  # it still says the types from before


def fold_weights(model: onnx.ModelProto) -> None:
    """Replace each weight that a QuantizeLinear makes integer at run time by the integers; drop Identity nodes."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        _replace(graph, node.output[0], node.input[0])
        graph.node.remove(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]:
        weight, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if scale.ndim == 1 and scale.size > 1:
            shape = [-1 if position == axis else 1 for position in range(weight.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        limits = np.iinfo(zero.dtype)
        integers = np.clip(np.rint(weight / scale) + zero, limits.min, limits.max).astype(zero.dtype)
        graph.initializer.append(numpy_helper.from_array(integers, node.output[0]))
        graph.node.remove(node)
    drop_unused(graph)


def _replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


@dataclass(frozen=True)
class ConvCount:
    """Convolutions of a model, how many of them run on integers, and what else computes in float, by kind."""

    convs: int
    int8_convs: int
    float_ops: tuple[tuple[str, int], ...] = ()


def executed_nodes(model: onnx.ModelProto) -> int:
    """How many operators onnxruntime executes for one inference, after fusing what it can."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        session_of(model.SerializeToString(), optimised)
        return len(onnx.load(optimised).graph.node)


def count_convs(path: Path, *, as_on_arm: bool = False) -> ConvCount:
    """Convolutions and QLinearConv in the graph onnxruntime makes of the file: the file alone proves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        session_of(str(path), optimised, as_on_arm=as_on_arm)
        graph = onnx.load(optimised).graph
    integers = _integers(graph)
    kinds = Counter(node.op_type for node in graph.node if not _moves_integers(node, integers))
    integer = kinds["QLinearConv"]
    islands = {k: n for k, n in kinds.items() if not k.startswith(("QLinear", "QGemm")) and k not in _MOVES}
    return ConvCount(integer + kinds["Conv"] + kinds["FusedConv"], integer, tuple(sorted(islands.items())))


def _integers(graph: onnx.GraphProto) -> set[str]:
    """Names of the tensors that hold integers, in a graph that onnxruntime has optimised."""
    found = {value.name for value in graph.input if value.type.tensor_type.elem_type in _INTEGER_TYPES}
    for node in graph.node:
        keeps = node.op_type in (*_MOVES, "MaxPool") and node.op_type != "DequantizeLinear"
        makes = node.op_type == "QuantizeLinear" or node.op_type.startswith(("QLinear", "QGemm"))
        if makes or (keeps and node.input[0] in found):
            found.update(node.output)
    return found


def _moves_integers(node: onnx.NodeProto, integers: set[str]) -> bool:
    """Whether a node chooses among integers, as a MaxPool does, under the name it has for floats."""
    return node.op_type == "MaxPool" and node.input[0] in integers
