"""Quantization-aware training of a float network: its weights learn to bear the rounding that follows.

Weights and the inputs and outputs of convolutions are rounded to eight bits in training, with gradients passed straight
through (Jacob et al., 2018); the float network is the teacher (Hinton et al., 2015). What comes out is a float network
again, which every recipe of post-training quantization takes, for either kind of file.
"""

import copy
import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxsim
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces

from export.adopt.conversion import torch_of_graph
from export.onnx_model import IR_VERSION, traced
from export.tflite_model import Takes, tflite_of
from quantize.onnx_graph import FloatGraph, activations, with_body
from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE, normalise
from train.fit.augment import augment
from train.fit.recipe import Augmentation

_BATCH = 64
# Folding changes nothing but the order of operations.
_MAX_DIFFERENCE = 1e-3
# As `quantize.ranges` clips.
_QUANTILE = 0.99
_HARD_SWISH_LOW = -3.0
# A torch module and the ONNX graph it is made of add up their numbers in another order.
_SAME_ANSWER = 1e-3


def teacher_of(graph: FloatGraph, faces: NDArray[np.uint8], source: str) -> nn.Module:
    """The body of a float model as a torch module, for a model that came without one. Takes what `values_of` makes.

    `faces` are raw ones to compare its answers on. Raises ModelError where torch cannot follow the graph, or follows it
    for one face at a time alone.
    """
    network = torch_of_graph(graph.body, source, any_batch=True).requires_grad_(False)
    name = graph.body.graph.output[0].name
    expected = np.concatenate([part[name] for part in activations(graph, graph.body, (name,), faces)])
    try:
        answers = network(values_of(graph, normalise(torch.from_numpy(graph.pixels(faces))))).numpy()
        difference = float(np.abs(answers.reshape(expected.shape) - expected).max())
    except Exception as error:  # torch raises what it likes
        raise ModelError(
            f"{source}: cannot be trained, as it takes one face at a time ({_first_line(error)})."
        ) from None
    if not difference <= _SAME_ANSWER * max(1.0, float(np.abs(expected).max())):
        raise ModelError(f"{source}: cannot be trained: as a torch module its answers differ by {difference:.2g}.")
    return network


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def values_of(graph: FloatGraph, faces: Tensor) -> Tensor:
    """Normalised faces (n, c, h, w) float32 -> what the body takes, as float32."""
    pixels = (faces / PIXEL_SCALE + PIXEL_MEAN).clamp(0, 255)
    if graph.scaling is not None:
        return (pixels - graph.scaling.mean) * graph.scaling.scale
    return pixels.permute(0, 2, 3, 1) if graph.contract.input.layout == "NHWC" else pixels


def onnx_again(network: nn.Module, graph: FloatGraph) -> FloatGraph:
    """The float model `graph` with what `finetuned` made of its body. Raises ModelError where onnxsim changes it."""
    entry = graph.body.graph.input[0].type.tensor_type
    shape = tuple(dim.dim_value for dim in entry.shape.dim[1:])
    dtype = torch.uint8 if entry.elem_type == TensorProto.UINT8 else torch.float32
    model, same = onnxsim.simplify(traced(network, shape, dtype))
    if not same:
        raise ModelError("onnxsim changed what the trained network computes.")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return with_body(graph, model)


def tflite_again(network: nn.Module, graph: FloatGraph) -> bytes:
    """The .tflite of what `finetuned` made of the body of `graph`, raw pixels in."""
    spec = graph.contract.input
    shape = (spec.height_px, spec.width_px, spec.channels)
    if graph.scaling is not None:
        return tflite_of(network, Takes(shape, "NCHW", graph.scaling.mean, graph.scaling.scale))
    return tflite_of(network, Takes(shape, spec.layout, 0, 1))


def finetuned(
    teacher: nn.Module,
    graph: FloatGraph,
    training: LabelledFaces,
    calibration: LabelledFaces,
    steps: int,
    learning_rate: float,
) -> nn.Module:
    """A copy of `teacher` with BatchNorm folded and weights that bear eight bits, in eval mode.

    `teacher` is any torch module that takes what `values_of` makes of faces for the body of `graph`, and gives (n,
    classes). Raises ModelError where its BatchNorm cannot be folded.
    """
    torch.manual_seed(0)
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
    inputs = values_of(graph, normalise(torch.from_numpy(graph.pixels(calibration.images))))
    network = folded(teacher, inputs[:2])
    hooks = _round_everything(network, inputs)
    parameters = list(network.requires_grad_(True).parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    generator = torch.Generator().manual_seed(0)
    for step in tqdm(range(steps), desc="quantization-aware training", unit=" steps", leave=False, delay=2):
        rows = torch.randint(len(training), (_BATCH,), generator=generator)
        pixels = torch.from_numpy(graph.pixels(training.images[rows.numpy()]))
        faces = values_of(graph, augment(normalise(pixels), Augmentation(), generator))
        loss = F.mse_loss(network(faces), teacher(faces))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for hook in hooks:
        hook.remove()
    for module in network.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    return network.requires_grad_(False).eval()


def folded(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of a network in eval mode, every BatchNorm that reads a convolution folded into it.

    Which one reads which is seen by running `example`, so that networks which cannot be traced are folded too. Raises
    ModelError where that changes what the network computes: a convolution that others read besides its BatchNorm.
    """
    network = copy.deepcopy(network).eval()
    names = {module: name for name, module in network.named_modules()}
    with torch.no_grad():
        before = network(example)
        for norm, conv in _readers(network, nn.BatchNorm2d, example).items():
            network.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))  # type: ignore[type-var]
            network.set_submodule(names[norm], nn.Identity())
        difference = float((network(example) - before).abs().max())
    if not difference <= _MAX_DIFFERENCE * max(1.0, float(before.abs().max())):
        raise ModelError(f"folding BatchNorm changes the outputs by {difference:.3g}; its network cannot be trained.")
    return network


def _readers(network: nn.Module, kind: type[nn.Module], example: Tensor) -> dict[nn.Module, nn.Module]:
    """The modules of a kind that read a convolution's output, or an identity behind one, each with the convolution."""
    made_by: dict[int, nn.Module] = {}
    found: dict[nn.Module, nn.Module] = {}
    kept: list[Tensor] = []  # so that no two tensors share an identity

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
        elif id(inputs[0]) in made_by:
            found[module] = made_by[id(inputs[0])]
        kept.extend((*inputs, output))

    seen = [module for module in network.modules() if isinstance(module, (nn.Conv2d, kind))]
    hooks = [module.register_forward_hook(see) for module in seen]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return found


class _RoundedWeight(nn.Module):
    """A convolution's weights in signed eight bits, one scale an output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        scale = (weight.detach().abs().amax(dim=tuple(range(1, weight.dim()))) / 127).clamp(min=1e-8)
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)


def _round_everything(network: nn.Module, inputs: Tensor) -> list[torch.utils.hooks.RemovableHandle]:
    """Make every convolution round its weights, inputs and outputs; what removes the latter two again."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    lows = dict.fromkeys(_readers(network, nn.Hardswish, inputs[:2]).values(), _HARD_SWISH_LOW)
    lows |= dict.fromkeys(_readers(network, nn.ReLU, inputs[:2]).values(), 0.0)
    ranges = _ranges(network, convolutions, inputs)
    hooks = []
    for conv in convolutions:
        (in_low, in_high), (out_low, out_high) = ranges[conv]
        out_low = max(out_low, lows.get(conv, -math.inf))
        before, after = _rounding(in_low, in_high), _rounding(out_low, out_high)
        hooks.append(conv.register_forward_pre_hook(lambda _, given, before=before: (before(given[0]),)))
        hooks.append(conv.register_forward_hook(lambda _, __, made, after=after: after(made)))
        parametrize.register_parametrization(conv, "weight", _RoundedWeight())
    return hooks


def _rounding(low: float, high: float) -> Callable[[Tensor], Tensor]:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-8)
    zero = round(-low / scale)
    return lambda values: torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)


_Range = tuple[float, float]


def _ranges(
    network: nn.Module, convolutions: list[nn.Conv2d], inputs: Tensor
) -> dict[nn.Conv2d, tuple[_Range, _Range]]:
    """Ranges of what each convolution takes and makes, by the quantile of each face's extremes."""
    extremes: dict[nn.Conv2d, list[list[Tensor]]] = {conv: [[], [], [], []] for conv in convolutions}

    def see(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        lists = extremes[module]  # type: ignore[index]
        for values, low, high in ((given[0], lists[0], lists[1]), (made, lists[2], lists[3])):
            low.append(values.flatten(1).amin(dim=1))
            high.append(values.flatten(1).amax(dim=1))

    hooks = [conv.register_forward_hook(see) for conv in convolutions]
    with torch.no_grad():
        for part in inputs.split(_BATCH):
            network(part)
    for hook in hooks:
        hook.remove()

    def at(values: list[Tensor], quantile: float) -> float:
        return float(torch.cat(values).quantile(quantile))

    return {
        conv: (
            (at(lists[0], 1 - _QUANTILE), at(lists[1], _QUANTILE)),
            (at(lists[2], 1 - _QUANTILE), at(lists[3], _QUANTILE)),
        )
        for conv, lists in extremes.items()
    }
