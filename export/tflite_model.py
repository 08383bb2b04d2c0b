"""A network as float TFLite: one raw uint8 face (1, h, w, c) in, scaling in the graph."""

from dataclasses import dataclass
from typing import Any

import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor, nn

from export.metadata import read_tflite, write_tflite
from export.quiet import quiet
from train.data.fer2013 import SIDE_PX
from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE

INPUT, OUTPUT = "faces", "logits"


@dataclass(frozen=True)
class Takes:
    """Input of a torch network: a face of `shape` (h, w, c) in this layout, float32, (pixel - mean) * scale."""

    shape: tuple[int, int, int] = (SIDE_PX, SIDE_PX, 1)
    layout: str = "NCHW"
    mean: float = PIXEL_MEAN
    scale: float = PIXEL_SCALE


class _RawFace(nn.Module):
    """A network behind the layout and the pixels that a .tflite file takes."""

    def __init__(self, network: nn.Module, takes: Takes) -> None:
        super().__init__()
        self.network, self.takes = network, takes

    def forward(self, face: Tensor) -> Tensor:
        """(1, h, w, c) uint8 -> (1, classes) float32."""
        values = face.float()
        if self.takes.mean != 0:
            values = values - self.takes.mean
        if self.takes.scale != 1:
            values = values * self.takes.scale
        # Scaled before it is permuted: a permutation of one channel then costs nothing in the converted graph.
        return self.network(values.permute(0, 3, 1, 2) if self.takes.layout == "NCHW" else values)


def tflite_of(network: nn.Module, takes: Takes | None = None) -> bytes:
    """Content of the .tflite of a network in eval mode. Without `takes` it takes normalised faces of 48 px."""
    takes = takes or Takes()
    with quiet():
        import litert_torch  # takes seconds and talks much

        face = torch.zeros(1, *takes.shape, dtype=torch.uint8)
        content = litert_torch.convert(_RawFace(network, takes).eval(), (face,)).model_content()
    return rename_tensors(content)


def rename_tensors(content: bytes) -> bytes:
    """Name every tensor after the operator that makes or holds it, such as conv_2d_4 and conv_2d_4/1.

    The converter's names repeat Python module paths, 300 characters each; a calibration cache needs names that
    stay, and a board needs none of it.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    for index, operator in enumerate(graph.operators):
        name = f"{operator_name(model, operator)}_{index}"
        for position, tensor in enumerate(operator.outputs):
            graph.tensors[tensor].name = f"{name}:{position}".removesuffix(":0").encode()
    _name_constants(model)
    for tensors, name in ((graph.inputs, INPUT), (graph.outputs, OUTPUT)):
        graph.tensors[tensors[0]].name = name.encode()
    for signature in model.signatureDefs or []:
        signature.inputs[0].name, signature.outputs[0].name = INPUT.encode(), OUTPUT.encode()
    return write_tflite(model)


def _name_constants(model: Any) -> None:
    graph = model.subgraphs[0]
    made = {tensor for operator in graph.operators for tensor in operator.outputs} | set(graph.inputs)
    for index, operator in enumerate(graph.operators):
        for position, tensor in enumerate(operator.inputs):
            if tensor >= 0 and tensor not in made:
                graph.tensors[tensor].name = f"{operator_name(model, operator)}_{index}/{position}".encode()


def operator_name(model: Any, operator: Any) -> str:
    """Lower-case name of an operator's kind, such as conv_2d."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # kinds above 127 are only in the newer field
    return _OPERATORS.get(number, f"operator_{number}").lower()


_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
