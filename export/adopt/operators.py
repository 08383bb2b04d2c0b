"""Operators that onnx2torch lacks, or takes sizes and places for from tensors, which no exporter of torch can follow.

Here sizes and places are numbers, as they are known beforehand in a graph for one face.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_edge.errors import ModelError

from export.adopt.onnx_preparing import opset_of

_TO_THE_END = 2**31 - 1


@contextmanager
def operators_of(model: onnx.ModelProto, where: str) -> Iterator[None]:
    """Have onnx2torch know the operators of `model` inside the block. Raises ModelError naming one it lacks.

    Most versions after opset 17 only widen the types. Where one means something else, parity finds it.
    """
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

    kept = dict(_CONVERTER_REGISTRY)
    try:
        _add(_CONVERTER_REGISTRY, model, where)
        yield
    finally:
        _CONVERTER_REGISTRY.clear()
        _CONVERTER_REGISTRY.update(kept)


def _add(registry: dict[Any, Any], model: onnx.ModelProto, where: str) -> None:
    from onnx2torch.node_converters.registry import OperationDescription

    constants = {tensor.name for tensor in model.graph.initializer}
    registry.setdefault(OperationDescription("", "Gelu", 20), _gelu)
    for kind, made in _STATIC.items():
        read = [node.input[1:] for node in model.graph.node if node.op_type == kind]
        if all(name in constants for names in read for name in names if name):
            for key in [key for key in registry if key.operation_type == kind]:
                registry[key] = made
    for kind in sorted({node.op_type for node in model.graph.node}):
        version = onnx.defs.get_schema(kind, opset_of(model)).since_version
        known = [key for key in registry if key.operation_type == kind and key.version <= version]
        if not known:
            raise ModelError(f"{where}: onnx2torch has no operator {kind}.")
        newest = max(known, key=lambda key: key.version)
        registry.setdefault(OperationDescription("", kind, version), registry[newest])


def _gelu(node: Any, graph: Any) -> Any:
    return _result(node, nn.GELU(node.attributes.get("approximate", "none")))


def _result(node: Any, module: nn.Module) -> Any:
    """A module of the node's first input, as a converter returns it."""
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

    return OperationConverterResult(module, OnnxMapping((node.input_values[0],), node.output_values))


def _numbers(node: Any, graph: Any, position: int) -> list[Any] | None:
    """The constant that is the node's input at `position`, None where it has none."""
    if len(node.input_values) <= position or not node.input_values[position]:
        return None
    values: list[Any] = graph.initializers[node.input_values[position]].to_torch().flatten().tolist()
    return values


def _static_reshape(node: Any, graph: Any) -> Any:
    return _result(node, _Reshape(_numbers(node, graph, 1) or []))


def _static_gather(node: Any, graph: Any) -> Any:
    places = graph.initializers[node.input_values[1]].to_torch()
    return _result(node, _Gather(places, node.attributes.get("axis", 0)))


def _static_pad(node: Any, graph: Any) -> Any:
    value = _numbers(node, graph, 2) or [0.0]
    return _result(node, _Pad(_numbers(node, graph, 1) or [], node.attributes.get("mode", "constant"), float(value[0])))


def _static_slice(node: Any, graph: Any) -> Any:
    starts, ends = _numbers(node, graph, 1) or [], _numbers(node, graph, 2) or []
    axes = _numbers(node, graph, 3) or list(range(len(starts)))
    steps = _numbers(node, graph, 4) or [1] * len(starts)
    return _result(node, _Slice(list(zip(axes, starts, ends, steps, strict=True))))


def _static_split(node: Any, graph: Any) -> Any:
    return _result(node, _Split(_numbers(node, graph, 1), len(node.output_values), node.attributes.get("axis", 0)))


def _static_expand(node: Any, graph: Any) -> Any:
    return _result(node, _Expand(_numbers(node, graph, 1) or []))


def _static_tile(node: Any, graph: Any) -> Any:
    return _result(node, _Tile(_numbers(node, graph, 1) or []))


def _static_resize(node: Any, graph: Any) -> Any:
    corners = node.attributes.get("coordinate_transformation_mode") == "align_corners"
    made = _Resize(_numbers(node, graph, 2), _numbers(node, graph, 3), node.attributes.get("mode", "nearest"), corners)
    return _result(node, made)


def _static_clip(node: Any, graph: Any) -> Any:
    bounds = [_numbers(node, graph, position) for position in (1, 2)]
    low, high = (None if bound is None else float(bound[0]) for bound in bounds)
    return _result(node, nn.ReLU6() if (low, high) == (0, 6) else _Clip(low, high))


def _static_prelu(node: Any, graph: Any) -> Any:
    return _result(node, _PRelu(graph.initializers[node.input_values[1]].to_torch()))


_STATIC: dict[str, Callable[[Any, Any], Any]] = {
    "Reshape": _static_reshape,
    "Gather": _static_gather,
    "Pad": _static_pad,
    "Slice": _static_slice,
    "Split": _static_split,
    "Expand": _static_expand,
    "Tile": _static_tile,
    "Resize": _static_resize,
    "Clip": _static_clip,
    "PRelu": _static_prelu,
}


class _Pad(nn.Module):
    """Padding in ONNX's order: all starts, then all ends."""

    def __init__(self, pads: list[int], mode: str, value: float) -> None:
        super().__init__()
        half = len(pads) // 2
        pairs = list(zip(pads[:half], pads[half:], strict=True))
        while pairs and mode != "constant" and pairs[0] == (0, 0):
            pairs.pop(0)
        self.pads = [int(size) for pair in reversed(pairs) for size in pair]
        self.mode, self.value = {"edge": "replicate"}.get(mode, mode), value

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Pad."""
        if self.mode == "constant":
            return F.pad(values, self.pads, value=self.value)
        return F.pad(values, self.pads, mode=self.mode)


class _Reshape(nn.Module):
    """A reshape to sizes known beforehand."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """Sizes of 0 stay as they are."""
        return values.reshape([values.shape[i] if size == 0 else size for i, size in enumerate(self.shape)])


class _Gather(nn.Module):
    """Places known beforehand along an axis: one of them, or several."""

    def __init__(self, places: Tensor, axis: int) -> None:
        super().__init__()
        self.axis, self.places = axis, [int(place) for place in places.flatten()]
        self.shape = tuple(places.shape)

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Gather."""
        axis = self.axis % values.dim()
        parts = [values.select(axis, place) for place in self.places]
        if not self.shape:
            return parts[0]
        stacked = torch.stack(parts, dim=axis)
        return stacked.reshape(*values.shape[:axis], *self.shape, *values.shape[axis + 1 :])


class _Clip(nn.Module):
    """Values kept within bounds, of which one may be absent."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Clip."""
        return values if self.low is None and self.high is None else values.clamp(self.low, self.high)


class _PRelu(nn.Module):
    """Values below 0 times a slope: one, one a channel, or any that broadcasts."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope)

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's PRelu."""
        slope = self.slope
        if slope.numel() == 1 or (slope.dim() == values.dim() - 1 and slope.shape[0] == slope.numel()):
            return F.prelu(values, slope.flatten())
        return torch.where(values < 0, values * slope, values)


class _Slice(nn.Module):
    """Parts (axis, start, end, step) of a tensor."""

    def __init__(self, parts: list[tuple[int, int, int, int]]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Slice; torch steps forwards alone, so what steps backwards is flipped first."""
        for axis, start, end, step in self.parts:
            if step < 0:
                size = values.shape[axis]
                first, last = (min(max(place + size * (place < 0), -1), size - 1) for place in (start, end))
                values = values.flip(axis)
                start, end, step = size - 1 - first, size - 1 - last, -step
            places: list[Any] = [slice(None)] * values.dim()
            places[axis] = slice(start, None if end >= _TO_THE_END else end, step)
            values = values[tuple(places)]
        return values


class _Split(nn.Module):
    """Parts of a tensor along an axis, of given sizes or of `count` of the same size, the last perhaps smaller."""

    def __init__(self, sizes: list[int] | None, count: int, axis: int) -> None:
        super().__init__()
        self.sizes, self.count, self.axis = sizes, count, axis

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """As ONNX's Split."""
        sizes = self.sizes or -(-values.shape[self.axis] // self.count)
        return torch.split(values, sizes, dim=self.axis)


class _Expand(nn.Module):
    """The same values again along dimensions of 1."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Expand, which keeps a dimension that it names 1."""
        return values.expand(torch.broadcast_shapes(values.shape, self.shape))


class _Tile(nn.Module):
    """The same values several times over."""

    def __init__(self, repeats: list[int]) -> None:
        super().__init__()
        self.repeats = repeats

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Tile."""
        return values.repeat(*self.repeats)


class _Resize(nn.Module):
    """Pictures (n, c, h, w) of another size."""

    def __init__(self, scales: list[float] | None, sizes: list[int] | None, mode: str, corners: bool) -> None:
        super().__init__()
        self.scales, self.sizes = scales, sizes
        self.mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        self.corners = corners if self.mode != "nearest" else None

    def forward(self, values: Tensor) -> Tensor:
        """As ONNX's Resize of height and width."""
        sizes = self.sizes or [int(size * by) for size, by in zip(values.shape, self.scales or [], strict=True)]
        return F.interpolate(values, size=sizes[2:], mode=self.mode, align_corners=self.corners)
