"""From a torch network or an ONNX graph to the content of a float .tflite file."""

import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnxsim
import torch
from onnx import helper, numpy_helper
from torch import nn

from fer_edge.errors import ModelError

from export.adopt.answers import Feeding
from export.adopt.folding import RawFaces
from export.adopt.network import Network, first_line
from export.adopt.onnx_preparing import constants_as_initializers
from export.adopt.operators import operators_of
from export.quiet import quiet
from export.tflite_model import rename_tensors

_PADDING = ("Conv", "MaxPool", "AveragePool")


def tflite_of_network(network: Network, feeding: Feeding) -> bytes:
    """The network as .tflite: one raw face (1, h, w, c) uint8 in. Raises ModelError naming what has no counterpart.

    A torch module is converted as it is; where it looks at how its tensors lie in memory, as its ONNX graph.
    """
    height, width = network.size_px
    face = torch.zeros(1, height, width, network.channels, dtype=torch.uint8)
    problem = ""
    for module in _ways(network):
        with quiet():
            raw = RawFaces(module, feeding, network.layout, scales=not network.takes_raw_pixels)
            content, reason = _converted(raw.eval(), face)
        if content is not None:
            return rename_tensors(content)
        problem = problem or reason
    raise ModelError(f"{network.source}: no TFLite of it ({problem}).")


def _ways(network: Network) -> Iterator[nn.Module]:
    if network.module is not None:
        yield network.module
    assert network.graph is not None
    yield torch_of_graph(network.graph, network.source)


def _converted(module: nn.Module, face: torch.Tensor) -> tuple[bytes | None, str]:
    """The .tflite, or why there is none."""
    import litert_torch  # takes seconds and talks much

    try:
        return litert_torch.convert(module, (face,)).model_content(), ""
    except Exception as error:  # the converter raises what it likes
        return None, first_line(error)


def torch_of_graph(graph: onnx.ModelProto, source: str, *, any_batch: bool = False) -> nn.Module:
    """An ONNX graph as a torch module in eval mode, by onnx2torch; of one face, or with `any_batch` of several.

    What hangs on the number of faces by more than a change of shape is then wrong, which the caller has to see. Raises
    ModelError naming an operator that onnx2torch lacks.
    """
    model = _for_one_face(graph)
    with _without_torchvision():
        from onnx2torch import convert

    constants_as_initializers(model)
    _pads_as_numbers(model)
    _reshapes_alone(model, any_batch=any_batch)
    _axes_as_attributes(model)
    try:
        with operators_of(model, source):
            return convert(model).eval()
    except ModelError:
        raise
    except Exception as error:  # the converter raises what it likes
        raise ModelError(f"{source}: no torch module of it: onnx2torch: {first_line(error)}.") from None


def _for_one_face(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph for a batch of 1, which is what a .tflite takes; shapes that hang on the batch become constants."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.shape.dim[0].Clear()
        entry.type.tensor_type.shape.dim[0].dim_value = 1
    simple, same = onnxsim.simplify(model)
    return simple if same else model


def _pads_as_numbers(model: onnx.ModelProto) -> None:
    """Say the `auto_pad` of CNTK's and TensorFlow's exporters, SAME_UPPER and SAME_LOWER, as numbers.

    What is padded on one side more than on the other gets a Pad of its own.
    """
    sizes = _sizes_in(model)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        rule = said.get("auto_pad", b"NOTSET").decode()
        if node.op_type in _PADDING and rule.startswith("SAME") and node.input[0] in sizes:
            kernel = said.get("kernel_shape") or weights[node.input[1]][2:]
            starts, ends = _same_pads(sizes[node.input[0]][2:], kernel, said, rule)
            changed = {"auto_pad": "NOTSET", "pads": [*starts, *ends] if starts == ends else [0] * 2 * len(starts)}
            if starts != ends and node.op_type != "AveragePool":
                nodes.append(_pad_before(node, [0, 0, *starts, 0, 0, *ends], model))
            elif starts != ends:
                changed = {}
            kept = [attribute for attribute in node.attribute if attribute.name not in changed]
            del node.attribute[:]
            node.attribute.extend([*kept, *(helper.make_attribute(name, value) for name, value in changed.items())])
        nodes.append(node)
    kept_nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept_nodes)


def _same_pads(
    sizes: Sequence[int], kernel: Sequence[int], said: dict[str, Any], rule: str
) -> tuple[list[int], list[int]]:
    """Pixels to add at the start and the end of each axis, so that it shrinks by the stride alone (ONNX's Conv)."""
    strides = said.get("strides") or [1] * len(sizes)
    dilations = said.get("dilations") or [1] * len(sizes)
    totals = [
        max((-(-size // stride) - 1) * stride + (side - 1) * dilation + 1 - size, 0)
        for size, side, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (less, more) if rule == "SAME_UPPER" else (more, less)


def _pad_before(node: onnx.NodeProto, pads: list[int], model: onnx.ModelProto) -> onnx.NodeProto:
    """A Pad whose output the node takes from now on; what a maximum is taken of is padded with the lowest number."""
    name = f"{node.output[0]}_padded"
    value = np.finfo(np.float32).min if node.op_type == "MaxPool" else 0.0
    model.graph.initializer.append(numpy_helper.from_array(np.array(pads, dtype=np.int64), f"{name}_by"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), f"{name}_with"))
    pad = helper.make_node("Pad", [node.input[0], f"{name}_by", f"{name}_with"], [name])
    node.input[0] = name
    return pad


def _sizes_in(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of every tensor of a graph for one face; 0 for a size that is not known."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    entries = (*inferred.value_info, *inferred.input, *inferred.output)
    return {entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in entries}


def _reshapes_alone(model: onnx.ModelProto, *, any_batch: bool) -> None:
    """Say every change of shape as a Reshape to constant sizes, which a batch of 1 has made known.

    With `any_batch` a first size of 1 stays what it is, which a Reshape says as 0.
    """
    sizes = _sizes_in(model)
    for number, node in enumerate(model.graph.node):
        shape = sizes.get(node.output[0], [0])
        if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze") or 0 in shape:
            continue
        if any_batch and shape[:1] == [1] and sizes.get(node.input[0], [0])[:1] == [1]:
            shape = [0, *shape[1:]]
        name = f"shape_{number}_of_{node.output[0]}"
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), name))
        reshape = helper.make_node("Reshape", [node.input[0], name], list(node.output), node.name)
        node.CopyFrom(reshape)


def _axes_as_attributes(model: onnx.ModelProto) -> None:
    """Say the axes of reductions as before opset 18, which is what onnx2torch knows."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.input) == 2:
            if node.input[1] in constants:
                node.attribute.append(helper.make_attribute("axes", constants[node.input[1]].tolist()))
            del node.input[1]


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let onnx2torch be imported without torchvision, which it needs for operators of object detectors alone.

    torchvision's builds for processors alone are in no public registry.
    """
    if "torchvision" in sys.modules:
        yield
        return
    stand_in, operators = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
    operators.roi_align = None  # type: ignore[attr-defined]
    stand_in.ops = operators  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": stand_in, "torchvision.ops": operators})
    try:
        yield
    finally:
        for name in ("torchvision", "torchvision.ops"):
            sys.modules.pop(name, None)
