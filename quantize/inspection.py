"""Layer by layer, how far an INT8 ONNX is from its float model, and which layer is better left float."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.files import atomic_write

from quantize import onnx_ptq
from quantize.onnx_graph import FloatGraph, activations
from quantize.qdq_graph import ConvCount
from quantize.ranges import Ranges
from quantize.recipes import ONNXRUNTIME, Recipe
from quantize.sensitivity import Choice, decibels

FACES = 64
_MAX_DB = 99.0
# Each costs two quantizations; the layer at fault loses far more than its neighbours, so it is among the first.
_SUSPECTS = 5
# What leaving the layers before it float as well must bring, to be worth their time.
_WORTH_DB = 3.0
_INTEGER = (*onnx_ptq.CONVOLUTIONS, "Add", "Mul", "MaxPool", "AveragePool", "Concat", "Resize")
_NOT_COMPUTING = ("QuantizeLinear", "DequantizeLinear", "Identity", "Cast")


@dataclass(frozen=True)
class Layer:
    """One operation of the float graph. Signal-to-noise ratio of what it makes against float, in decibels.

    `loss_db` is how much worse that is than the worst of what it takes; `integer` says that it computes with integers.
    """

    name: str
    kind: str
    snr_db: float
    loss_db: float
    integer: bool


@dataclass(frozen=True)
class Exclusion:
    """A layer to leave float, and the logits' signal-to-noise ratio with it integer and float, in decibels.

    `layers` begins with it; those that make what it takes follow where they must be float as well.
    """

    layers: tuple[str, ...]
    before_db: float
    after_db: float


@dataclass(frozen=True)
class Inspection:
    """All layers in the graph's order, what onnxruntime fused, and the layer to leave float, if one helps."""

    layers: tuple[Layer, ...]
    counted: ConvCount
    exclusion: Exclusion | None

    def worst(self, count: int = 10) -> list[Layer]:
        """The layers whose output is farthest from float."""
        return sorted(self.layers, key=lambda layer: layer.snr_db)[:count]


def layers_of(graph: FloatGraph, model: onnx.ModelProto, faces: NDArray[np.uint8]) -> tuple[Layer, ...]:
    """Compare every tensor the float body and the INT8 model share, on faces (n, h, w) uint8."""
    read = _as_read(model)
    nodes = [n for n in graph.body.graph.node if n.op_type not in _NOT_COMPUTING and n.output[0] in read]
    ratios = _ratios_db(graph, model, {node.output[0]: read[node.output[0]] for node in nodes}, faces)
    integers = _integer_outputs(model)
    made_by = {name: node for node in graph.body.graph.node for name in node.output}
    layers = []
    for node in nodes:
        own = ratios[node.output[0]]
        owner, kind = node, node.op_type
        if kind == "Relu" and node.input[0] not in read and node.input[0] in made_by:
            # A Relu lives on as the range of what it followed: both are one layer, by the name of the first.
            owner = made_by[node.input[0]]
            kind = f"{owner.op_type}+Relu"
        before = min((ratios[name] for name in owner.input if name in ratios), default=_MAX_DB)
        # The others read integers too, as a mean does, and compute in float.
        integer = owner.op_type in _INTEGER and node.output[0] in integers
        layers.append(Layer(owner.name, kind, own, before - own, integer))
    return tuple(layers)


def _as_read(model: onnx.ModelProto) -> dict[str, str]:
    """For each tensor of the INT8 model the one that its readers see: behind its own Q and DQ where it has them."""
    made = {name: name for node in model.graph.node for name in node.output}
    quantized = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized:
            made[quantized[node.input[0]]] = node.output[0]
    return made


def _integer_outputs(model: onnx.ModelProto) -> set[str]:
    """Outputs of the operations all of whose activations arrive through DequantizeLinear."""
    constants = {tensor.name for tensor in model.graph.initializer}
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.output[0]
        for node in model.graph.node
        if node.op_type not in _NOT_COMPUTING and {name for name in node.input if name} - constants <= dequantized
    }


def _ratios_db(
    graph: FloatGraph, model: onnx.ModelProto, pairs: Mapping[str, str], faces: NDArray[np.uint8]
) -> dict[str, float]:
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.0)
    of_float = activations(graph, graph.body, tuple(pairs), faces)
    of_int8 = activations(graph, model, tuple(dict.fromkeys(pairs.values())), faces)
    for first, second in zip(of_float, of_int8, strict=True):
        for name, other in pairs.items():
            values = first[name].astype(np.float64)
            signal[name] += float((values**2).sum())
            noise[name] += float(((values - second[other]) ** 2).sum())
    return {name: decibels(signal[name], noise[name]) for name in pairs}


def exclusion(
    graph: FloatGraph,
    layers: tuple[Layer, ...],
    ranges: Ranges,
    recipe: Recipe,
    choice: Choice,
    faces: NDArray[np.uint8],
) -> Exclusion | None:
    """The layer that, left float, brings the logits closest to float; None where none brings a decibel.

    Tried out for recipes of onnxruntime. Of others the layer that loses most is named, and its gain is not known.
    """
    suspects = sorted((layer for layer in layers if layer.integer), key=lambda layer: -layer.loss_db)[:_SUSPECTS]
    if not suspects:
        return None
    if recipe.backend != ONNXRUNTIME:
        return Exclusion((suspects[0].name,), layers[-1].snr_db, math.nan)

    def tried(excluded: tuple[str, ...]) -> Exclusion:
        without = replace(choice, float_layers=(*choice.float_layers, *excluded))
        return Exclusion(excluded, before, _logits_db(graph, ranges, recipe, without, faces))

    before = _logits_db(graph, ranges, recipe, choice, faces)
    alone = max((tried((layer.name,)) for layer in suspects), key=lambda found: found.after_db)
    groups = (tried((layer.name, *_makers(graph, layer.name))) for layer in suspects)
    together = max(groups, key=lambda found: found.after_db)
    best = together if together.after_db >= alone.after_db + _WORTH_DB else alone
    return best if best.after_db >= before + 1 else None


def _makers(graph: FloatGraph, layer: str) -> list[str]:
    """The layers that make what `layer` takes: only with them float are its inputs float too."""
    made_by = {name: node for node in graph.body.graph.node for name in node.output}
    (own,) = (node for node in graph.body.graph.node if node.name == layer)
    found: list[str] = []
    waiting = [made_by[name] for name in own.input if name in made_by]
    while waiting:
        node = waiting.pop()
        found.append(node.name)
        if node.op_type in ("Relu", "Clip"):
            waiting += [made_by[name] for name in node.input if name in made_by]
    return found


def _logits_db(graph: FloatGraph, ranges: Ranges, recipe: Recipe, choice: Choice, faces: NDArray[np.uint8]) -> float:
    model = onnx_ptq.quantized(graph, ranges, recipe, choice)
    logits = graph.body.graph.output[0].name
    return _ratios_db(graph, model, {logits: logits}, faces)[logits]


def table(inspection: Inspection) -> str:
    """The layers as aligned plain text, in the graph's order."""
    width = max(len(layer.name) for layer in inspection.layers)
    lines = [f"{'layer'.ljust(width)}  kind                   SNR dB  loss dB  runs on"]
    lines += [
        f"{layer.name.ljust(width)}  {layer.kind:<21} {layer.snr_db:>7.1f}  {layer.loss_db:>7.1f}  "
        f"{'integers' if layer.integer else 'float'}"
        for layer in inspection.layers
    ]
    counted = inspection.counted
    lines.append(f"QLinearConv: {counted.int8_convs} of {counted.convs} convolutions")
    islands = ", ".join(f"{count} {kind}" for kind, count in counted.float_ops)
    lines.append(f"computed in float: {islands or 'nothing'}")
    return "\n".join((*lines, advice(inspection.exclusion)))


def advice(found: Exclusion | None) -> str:
    """Advise about the worst layer, in one sentence."""
    if found is None:
        return "no single layer stands out: leaving one float does not bring the logits a decibel closer."
    options = " ".join(f"--exclude {layer}" for layer in found.layers)
    if math.isnan(found.after_db):
        return f"the layer that loses most is {found.layers[0]}; to leave it float: {options}"
    return (
        f"left float, {found.layers[0]} brings the logits from {found.before_db:.1f} to {found.after_db:.1f} dB: "
        f"{options}"
    )


def plot(inspection: Inspection, path: Path, title: str) -> None:
    """Draw the ten layers farthest from float as bars, the worst on top."""
    from matplotlib.figure import Figure

    worst = inspection.worst()[::-1]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:blue" if layer.integer else "tab:orange" for layer in worst]
    axes.barh([f"{layer.name} ({layer.kind})" for layer in worst], [layer.snr_db for layer in worst], color=colours)
    axes.set_xlabel("signal-to-noise ratio, dB (blue: integers, orange: float)")
    axes.set_title(title)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
