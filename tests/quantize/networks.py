"""Small ONNX networks of forms that other people's exporters write, trained by a closed form on the drawn faces."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.contracts import float_contract
from export.metadata import put_in_onnx
from quantize.onnx_graph import session_of
from tests.export import small

_FILTERS = 24


def foreign(
    path: Path, *, layout: str = "NCHW", activation: str = "Relu", pool: str = "", softmax: bool = False
) -> Path:
    """Write a classifier of the drawn faces: random stripes as filters, and a last layer by least squares.

    Two convolutions with `activation` (Relu, or Clip as ReLU6), `pool` between them (MaxPool or none),
    a mean, one linear layer, and a Softmax with `softmax`.
    """
    model = _model(layout, activation, pool, softmax, np.zeros((_FILTERS, 7), np.float32), np.zeros(7, np.float32))
    images, labels = small.drawn_faces(210, seed=0)
    fed = images[:, None] if layout == "NCHW" else images[..., None]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.ValueInfoProto(name="features"))
    (features,) = session_of(probe.SerializeToString()).run(["features"], {"faces": fed})
    columns = np.hstack([features, np.ones((len(features), 1))])
    expected = 8 * np.eye(7)[labels] - 4
    solved = np.linalg.solve(columns.T @ columns + 1e-3 * np.eye(columns.shape[1]), columns.T @ expected)
    model = _model(layout, activation, pool, softmax, solved[:-1].astype(np.float32), solved[-1].astype(np.float32))
    put_in_onnx(model, float_contract(small.info(measured={}), "1" * 64, layout=layout))
    onnx.save(model, path)
    return path


def _model(
    layout: str, activation: str, pool: str, softmax: bool, last: np.ndarray, bias: np.ndarray
) -> onnx.ModelProto:
    entry = "pixels" if layout == "NCHW" else "moved"
    nodes = [helper.make_node("Cast", ["faces"], ["pixels"], "cast", to=TensorProto.FLOAT)]
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", ["pixels"], ["moved"], "transpose", perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Div", [entry, "range"], ["scaled"], "scale"))
    nodes.append(helper.make_node("Conv", ["scaled", "first"], ["made"], "first_conv", pads=[3] * 4, strides=[2, 2]))
    bounds = ["zero", "six"] if activation == "Clip" else []
    nodes.append(helper.make_node(activation, ["made", *bounds], ["act"], "first_act"))
    between = "act"
    if pool == "MaxPool":
        nodes.append(helper.make_node("MaxPool", ["act"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]))
        between = "pooled"
    nodes.append(helper.make_node("Conv", [between, "second"], ["deeper"], "second_conv", pads=[1] * 4))
    nodes.append(helper.make_node(activation, ["deeper", *bounds], ["deep"], "second_act"))
    nodes.append(helper.make_node("ReduceMean", ["deep"], ["features"], "mean", axes=[2, 3], keepdims=0))
    logits = "scores" if softmax else "logits"
    nodes.append(helper.make_node("Gemm", ["features", "last", "bias"], [logits], "last_layer"))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["logits"], "softmax"))
    generator = np.random.default_rng(3)
    weights = {
        "range": np.float32(255),
        "zero": np.float32(0),
        "six": np.float32(6),
        "first": _stripes(),
        "second": generator.normal(0, 0.25, (_FILTERS, _FILTERS // 2, 3, 3)),
        "last": last,
        "bias": bias,
    }
    shape = ["n", 1, 48, 48] if layout == "NCHW" else ["n", 48, 48, 1]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in weights.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _stripes() -> np.ndarray:
    """Filters (12, 1, 7, 7) of the directions the faces are drawn in, at two phases."""
    rows, columns = np.mgrid[-3:4, -3:4]
    angles = np.arange(_FILTERS // 4) * np.pi / (_FILTERS // 4)
    waves = [0.6 * (rows * np.cos(angle) + columns * np.sin(angle)) + phase for angle in angles for phase in (0, 1.6)]
    return np.stack([np.sin(wave) for wave in waves])[:, None] / 8
