"""ONNX as CNTK wrote it in 2018: the FER+ network of the ONNX model zoo is such a file."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 64
_WIDTHS = (8, 12, 16)


def write_cntk(path: Path, opset: int, rule: str = "SAME_UPPER", stride: int = 1) -> None:
    """Write a network for grey pixels (1, 1, 64, 64) with eight outputs, random weights, every weight an input too.

    `rule` is the auto_pad of its convolutions and pools; a stride above 1 pads one side more than the other.
    """
    weights = _weights(stride)
    sizes = {"kernel_shape": [3, 3], "strides": [stride, stride]}
    nodes = [
        helper.make_node("Sub", ["Input3", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["x0"]),
    ]
    for number in range(len(_WIDTHS)):
        last = f"x{number + 1}"
        pool = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": rule}
        nodes += [
            helper.make_node("Conv", [f"x{number}", f"W{number}"], [f"c{number}"], auto_pad=rule, **sizes),
            helper.make_node("Add", [f"c{number}", f"B{number}"], [f"a{number}"]),
            helper.make_node("Relu", [f"a{number}"], [f"r{number}"]),
            helper.make_node("MaxPool", [f"r{number}"], [f"p{number}"], **pool),
            helper.make_node("Dropout", [f"p{number}"], [last, f"mask{number}"], ratio=0.25),
        ]
    nodes += [
        helper.make_node("Reshape", [f"x{len(_WIDTHS)}", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "FW"], ["product"]),
        helper.make_node("Add", ["product", "FB"], ["Plus692_Output_0"]),
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    shape = (1, 1, SIDE_PX, SIDE_PX)
    entries = [helper.make_tensor_value_info("Input3", TensorProto.FLOAT, shape)]
    entries += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
    answer = helper.make_tensor_value_info("Plus692_Output_0", TensorProto.FLOAT, (1, 8))
    graph = helper.make_graph(nodes, "CNTKGraph", entries, [answer], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3), path)


def _weights(stride: int) -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(0)
    found: dict[str, NDArray[np.generic]] = {
        "middle": np.array(127.5, dtype=np.float32),
        "scale": np.array(64.0, dtype=np.float32),
    }
    side, before = SIDE_PX, 1
    for number, width in enumerate(_WIDTHS):
        shape = (width, before, 3, 3)
        found[f"W{number}"] = (generator.standard_normal(shape) / np.sqrt(9 * before)).astype(np.float32)
        found[f"B{number}"] = (0.1 * generator.standard_normal((width, 1, 1))).astype(np.float32)
        side, before = -(-side // stride) // 2 + (-(-side // stride) % 2), width
    flat = before * side * side
    found["shape"] = np.array([1, flat], dtype=np.int64)
    found["FW"] = (generator.standard_normal((flat, 8)) / np.sqrt(flat)).astype(np.float32)
    found["FB"] = (0.1 * generator.standard_normal((1, 8))).astype(np.float32)
    return found
