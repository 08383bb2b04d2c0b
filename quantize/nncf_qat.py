"""Quantization-aware training with NNCF: BatchNorm is folded first, so that what is exported really is INT8.

A quantizer between a convolution and its BatchNorm would keep onnxruntime from fusing them: no QLinearConv at all.
"""

import copy
import math
import os
from pathlib import Path

import numpy as np
import onnx
import torch
import torch._dynamo.config
import torch.fx
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from fer_edge.faces import LabelledFaces

from export.onnx_model import traced
from export.quiet import quiet
from quantize.nncf_ptq import finished
from quantize.onnx_graph import FloatGraph
from quantize.recipes import Recipe
from train import checkpoint as checkpoints
from train.augment import augment
from train.fer2013 import SIDE_PX
from train.pixels import normalise
from train.recipe import Augmentation

_BATCH = 64
# The float network teaches its own INT8 form: its answers hold more than a label does (Hinton et al., 2015).
_TEMPERATURE = 2.0


def quantized(
    graph: FloatGraph, checkpoint: Path, training: LabelledFaces, calibration: LabelledFaces, recipe: Recipe
) -> onnx.ModelProto:
    """The INT8 model after `recipe.steps` steps on `training` faces (n, 48, 48), taught by the float network.

    Raises ModelError where the checkpoint cannot be read.
    """
    torch.manual_seed(0)
    teacher = checkpoints.load(checkpoint).network.requires_grad_(False)
    with quiet():
        network = _with_quantizers(folded(teacher).requires_grad_(True), calibration.images)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    generator = torch.Generator().manual_seed(0)
    for step in tqdm(range(recipe.steps), desc=recipe.name, unit=" steps", leave=False, delay=2):
        rows = torch.randint(len(training), (_BATCH,), generator=generator)
        faces = normalise(torch.from_numpy(training.images[rows.numpy()])).unsqueeze(1)
        faces = augment(faces, Augmentation(), generator)
        loss = _lesson(network(faces), teacher(faces))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with quiet():
        return finished(_exported(network), graph, recipe)


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network in eval mode, every BatchNorm behind a convolution folded into it."""
    network = copy.deepcopy(network).eval()
    nodes = list(torch.fx.symbolic_trace(network).graph.nodes)
    modules = dict(network.named_modules())
    for node in nodes:
        before = node.args[0] if node.args else None
        if not isinstance(before, torch.fx.Node) or node.op != "call_module" or before.op != "call_module":
            continue
        norm, conv = modules[str(node.target)], modules[str(before.target)]
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d) and len(before.users) == 1:
            network.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
            network.set_submodule(str(node.target), nn.Identity())
    return network


def _with_quantizers(network: nn.Module, faces: NDArray[np.uint8]) -> nn.Module:
    """The network with NNCF's trainable quantizers, their ranges taken from faces (n, 48, 48) uint8."""
    # NNCF would compile its quantizers for a minute or more, and with a compiler that may not be there.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import nncf
    from nncf.quantization import advanced_parameters as advanced
    from nncf.torch.quantization import extensions
    from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

    torch._dynamo.config.disable = True
    extensions.QuantizedFunctionsCPU._loaded_namespace = ReferenceQuantizedFunctions
    inputs = normalise(torch.from_numpy(faces)).unsqueeze(1)
    return nncf.quantize(
        network,
        nncf.Dataset([inputs[row : row + 1] for row in range(len(inputs))]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(types=["linear"], validate=False),
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


def _exported(network: nn.Module) -> onnx.ModelProto:
    """The trained network in QDQ form, taking normalised faces."""
    import nncf

    example = torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    return traced(nncf.strip(network.eval(), do_copy=False, example_input=example))
