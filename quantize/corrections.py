"""Corrections of float weights so that integers lose less: cross-layer equalization, bias correction.

Both are of Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (2019).
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from quantize import onnx_ptq
from quantize.onnx_graph import FloatGraph, activations
from quantize.ranges import Ranges, collect_ranges
from quantize.recipes import Recipe

# Channels that are never used, or weighed with nothing, stay as they are.
_LARGEST_FACTOR = 1e3
_ROUNDS = 2
_THROUGH = ("Relu", "MaxPool", "LeakyRelu")


def equalized(graph: FloatGraph) -> FloatGraph:
    """The same function with the weights of each pair of convolutions, one feeding the other alone, of equal ranges.

    Pairs with nothing but a ReLU or a maximum between them, which scale with their input.
    """
    body = _copy(graph.body)
    weights = {tensor.name: tensor for tensor in body.graph.initializer}
    for _ in range(_ROUNDS):
        for first, second in _pairs(body.graph):
            _equalize(first, second, weights)
    return replace(graph, body=body)


def _pairs(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for first in graph.node:
        last = first
        while first.op_type == "Conv" and last.output[0] not in outputs:
            following = readers.get(last.output[0], [])
            if len(following) != 1:
                break
            last = following[0]
            if last.op_type == "Conv" and last.input[0] not in last.input[1:]:
                yield first, last
            if last.op_type not in _THROUGH:
                break


def _equalize(first: onnx.NodeProto, second: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> None:
    if first.input[1] not in weights or second.input[1] not in weights:
        return
    before, after = (numpy_helper.to_array(weights[node.input[1]]) for node in (first, second))
    groups = next((attribute.i for attribute in second.attribute if attribute.name == "group"), 1)
    channels = before.shape[0]
    if groups not in (1, channels) or (groups == 1 and after.shape[1] != channels):
        return
    largest_before = np.abs(before).reshape(channels, -1).max(axis=1)
    read = after.reshape(channels, -1) if groups > 1 else np.moveaxis(after, 1, 0).reshape(channels, -1)
    largest_after = np.abs(read).max(axis=1)
    used = (largest_before > 0) & (largest_after > 0)
    factor = np.sqrt(np.where(used, largest_before, 1) / np.where(used, largest_after, 1))
    factor = np.clip(factor, 1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
    shape = (channels, *[1] * (before.ndim - 1))
    _put(weights[first.input[1]], before / factor.reshape(shape))
    if len(first.input) > 2:
        _put(weights[first.input[2]], numpy_helper.to_array(weights[first.input[2]]) / factor)
    after_shape = shape if groups > 1 else (1, channels, *[1] * (after.ndim - 2))
    _put(weights[second.input[1]], after * factor.reshape(after_shape))


def ranges_of(graph: FloatGraph, images: NDArray[np.uint8], recipe: Recipe, quantile: float) -> Ranges:
    """Ranges of a graph whose weights were changed, on faces (n, h, w) uint8."""
    batches = activations(graph, graph.body, onnx_ptq.observed_tensors(graph), images)
    return collect_ranges(batches, (recipe.ranges,), quantile)[recipe.ranges]


def bias_corrected(graph: FloatGraph, quantized: onnx.ModelProto, images: NDArray[np.uint8]) -> FloatGraph:
    """The float graph with what rounding the weights adds to each convolution's mean output taken off its bias.

    `quantized` is in QDQ form, with the names of the graph; the mean inputs are of faces (n, h, w) uint8.
    """
    rounded = _rounded_weights(quantized)
    convolutions = [n for n in graph.body.graph.node if n.op_type == "Conv" and len(n.input) > 2 and n.name in rounded]
    if not convolutions:  # a network that normalises behind each of them has no bias to correct
        return graph
    means = _channel_means(graph, tuple(dict.fromkeys(node.input[0] for node in convolutions)), images)
    body = _copy(graph.body)
    weights = {tensor.name: tensor for tensor in body.graph.initializer}
    for node in convolutions:
        added = (rounded[node.name] - numpy_helper.to_array(weights[node.input[1]])).sum(axis=(2, 3))
        outputs, inputs = added.shape
        groups = len(means[node.input[0]]) // inputs
        per_group = means[node.input[0]].reshape(groups, inputs).repeat(outputs // groups, axis=0)
        bias = numpy_helper.to_array(weights[node.input[2]])
        _put(weights[node.input[2]], bias - (added * per_group).sum(axis=1))
    return replace(graph, body=body)


def _rounded_weights(quantized: onnx.ModelProto) -> dict[str, NDArray[np.float64]]:
    """Dequantized weights of each convolution, by the name of the convolution."""
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    made_by = {node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"}
    found = {}
    for node in quantized.graph.node:
        source = made_by.get(node.input[1]) if node.op_type == "Conv" else None
        if source is not None and source.input[0] in constants:
            integers, scale = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in source.input[:2])
            found[node.name] = integers * scale.reshape(-1, *[1] * (integers.ndim - 1))
    return found


def _channel_means(
    graph: FloatGraph, names: tuple[str, ...], images: NDArray[np.uint8]
) -> dict[str, NDArray[np.float64]]:
    """The mean of each channel of the tensors `names` (n, c, h, w) over faces and positions, (c,)."""
    batches = activations(graph, graph.body, names, images)
    sums = [{name: values.mean(axis=(2, 3)).sum(axis=0) for name, values in batch.items()} for batch in batches]
    return {name: np.sum([part[name] for part in sums], axis=0) / len(images) for name in names}


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _put(tensor: onnx.TensorProto, values: NDArray[np.floating]) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
