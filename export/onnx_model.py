"""A network as float ONNX: raw grey uint8 in, scaling in the graph, BatchNorm folded, any batch."""

import io
import warnings

import onnx
import onnxsim
import torch
from onnx import TensorProto, helper
from torch import nn

from export.errors import ExportError
from train.data.fer2013 import SIDE_PX
from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE

OPSET = 17
# Opset 17 came with IR version 8; onnxruntime on a Jetson of JetPack 5 reads no newer one.
IR_VERSION = 8
INPUT, NORMALISED, OUTPUT = "faces", "normalised", "logits"


def onnx_of(network: nn.Module) -> onnx.ModelProto:
    """Convert a network in eval mode that takes (n, 1, 48, 48) float, normalised.

    The model takes `faces` (n, 1, 48, 48) uint8 and gives `logits` (n, classes) float32. Raises ExportError where the
    simplifier or the checker refuses it.
    """
    model, same = onnxsim.simplify(traced(network))
    if not same:
        raise ExportError("onnxsim changed what the model computes. Nothing was written.")
    _prepend_scaling(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def traced(
    network: nn.Module, shape: tuple[int, ...] = (1, SIDE_PX, SIDE_PX), dtype: torch.dtype = torch.float32
) -> onnx.ModelProto:
    """The network as torch exports it, taking `normalised` (n, *shape); nothing is folded or checked."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that gives opset 17 calls itself deprecated; its successor is ten times slower (opset 20).
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2, *shape, dtype=dtype),),
            stream,
            dynamo=False,
            opset_version=OPSET,
            input_names=[NORMALISED],
            output_names=[OUTPUT],
            dynamic_axes={NORMALISED: {0: "n"}, OUTPUT: {0: "n"}},
        )
    return onnx.load_from_string(stream.getvalue())


def _prepend_scaling(model: onnx.ModelProto) -> None:
    """Put Cast, Sub, Mul before the graph: after simplifying, because onnxsim would fold Mul into the first weights.

    Kept apart, the scale is what the INT8 model's input is quantized with.
    """
    graph = model.graph
    scaling = [
        helper.make_node("Cast", [INPUT], ["pixels"], "scaling/cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "pixel_mean"], ["centred"], "scaling/centre"),
        helper.make_node("Mul", ["centred", "pixel_scale"], [NORMALISED], "scaling/scale"),
    ]
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*scaling, *body])
    graph.initializer.extend(
        helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        for name, value in (("pixel_mean", PIXEL_MEAN), ("pixel_scale", PIXEL_SCALE))
    )
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", 1, SIDE_PX, SIDE_PX]))
