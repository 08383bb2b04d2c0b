"""Quantization-aware training with NNCF: BatchNorm is folded first, so that what is exported really is INT8.

A quantizer between a convolution and its BatchNorm would keep onnxruntime from fusing them: no QLinearConv at all.
"""

import copy
import math
import os

import onnx
import torch
import torch._dynamo.config
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from fer_edge.faces import LabelledFaces

from export.onnx_model import traced
from export.quiet import quiet
from quantize.nncf_ptq import finished
from quantize.onnx_graph import FloatGraph
from quantize.qat import folded, values_of
from quantize.recipes import Recipe
from train.data.pixels import normalise
from train.fit.augment import augment
from train.fit.recipe import Augmentation

_BATCH = 64
# The float network teaches its own INT8 form: its answers hold more than a label does (Hinton et al., 2015).
_TEMPERATURE = 2.0


# Attention and normalisation stay float, as in every other recipe, and so does the last layer.
_FLOAT_KINDS = ["linear", "div", "sub", "pow", "square", "mul", "sigmoid", "hardsigmoid", "hardswish", "mean", "sum"]
_FLOAT_KINDS += ["rsqrt", "group_norm", "instance_norm", "layer_norm"]


def quantized(
    graph: FloatGraph, teacher: nn.Module, training: LabelledFaces, calibration: LabelledFaces, recipe: Recipe
) -> onnx.ModelProto:
    """The INT8 model after `recipe.steps` steps on `training` faces, taught by the float network `teacher`.

    `teacher` is any torch module that takes what the body of `graph` takes, (n, c, h, w) float32, and gives
    (n, classes). It is not changed. Raises ModelError where its BatchNorm cannot be folded.
    """
    torch.manual_seed(0)
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
    inputs = torch.from_numpy(graph.feed(calibration.images))
    with quiet():
        network = _with_quantizers(folded(teacher, inputs[:2]).requires_grad_(True), inputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    generator = torch.Generator().manual_seed(0)
    for step in tqdm(range(recipe.steps), desc=recipe.name, unit=" steps", leave=False, delay=2):
        rows = torch.randint(len(training), (_BATCH,), generator=generator)
        pixels = torch.from_numpy(graph.pixels(training.images[rows.numpy()]))
        faces = values_of(graph, augment(normalise(pixels), Augmentation(), generator))
        loss = _lesson(network(faces), teacher(faces))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with quiet():
        model = _exported(network, inputs[:1])
    _rename_input(model, graph.input)
    return finished(model, graph, recipe)


def _with_quantizers(network: nn.Module, inputs: Tensor) -> nn.Module:
    """The network with NNCF's trainable quantizers, their ranges taken from inputs (n, c, h, w)."""
    # NNCF would compile its quantizers for a minute or more, and with a compiler that may not be there.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import nncf
    from nncf.quantization import advanced_parameters as advanced
    from nncf.torch.quantization import extensions
    from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

    torch._dynamo.config.disable = True
    extensions.QuantizedFunctionsCPU._loaded_namespace = ReferenceQuantizedFunctions
    return nncf.quantize(
        network,
        nncf.Dataset([inputs[row : row + 1] for row in range(len(inputs))]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(types=_FLOAT_KINDS, validate=False),
        advanced_parameters=advanced.AdvancedQuantizationParameters(
            overflow_fix=advanced.OverflowFix.DISABLE,
            activations_quantization_params=advanced.QuantizationParameters(
                mode=advanced.QuantizationMode.ASYMMETRIC, per_channel=False
            ),
        ),
    )


def _lesson(logits: Tensor, taught: Tensor) -> Tensor:
    """Cross-entropy of the INT8 form, logits (n, classes), to what the float network says of the same faces."""
    target = F.softmax(taught / _TEMPERATURE, dim=1)
    return F.cross_entropy(logits / _TEMPERATURE, target) * _TEMPERATURE**2


def _exported(network: nn.Module, example: Tensor) -> onnx.ModelProto:
    """The trained network in QDQ form, taking what `example` (1, c, h, w) is one of."""
    import nncf

    return traced(nncf.strip(network.eval(), do_copy=False, example_input=example), tuple(example.shape[1:]))


def _rename_input(model: onnx.ModelProto, name: str) -> None:
    """Give the input the name it has in the float graph."""
    old = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = [name if known == old else known for known in node.input]
    model.graph.input[0].name = name
