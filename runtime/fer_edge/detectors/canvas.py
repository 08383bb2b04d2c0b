"""The canvas of a detector made here: its size for a picture, and the network laid out for it.

YuNet is fully convolutional, so one file serves every canvas: only the sizes of its tensors change, and they stand in
the file as plain numbers.
"""

import math
from dataclasses import dataclass

from fer_edge.errors import ModelError
from fer_edge.tflite_file import input_shape, with_sizes

STEP_PX = 32
"""Sides of the canvas are multiples of it."""
_MOST_PX = 2048


@dataclass(frozen=True)
class Canvas:
    """Width and height of a network's input, in pixels."""

    width_px: int
    height_px: int

    @classmethod
    def fitting(cls, width_px: int, height_px: int, side_px: int) -> "Canvas":
        """The smallest canvas with a longer side of `side_px` that a picture of `width_px` x `height_px` fills."""
        shorter = _stepped(side_px * min(width_px, height_px) / max(width_px, height_px))
        return cls(side_px, shorter) if width_px >= height_px else cls(shorter, side_px)


def _stepped(side: float) -> int:
    return max(math.ceil(side / STEP_PX), 1) * STEP_PX


def with_canvas(data: bytes, canvas: Canvas, where: str) -> bytes:
    """The .tflite of `fer-edge-lab make-detector` with an input of `canvas`. Raises ModelError where it is not one."""
    shape = input_shape(data, where)
    if len(shape) != 4 or shape[3] != 3 or not all(STEP_PX <= side <= _MOST_PX for side in shape[1:3]):
        raise ModelError(f"{where}: input {shape}, expected a picture, its sides multiples of {STEP_PX}. Is it YuNet?")
    made = Canvas(shape[2], shape[1])
    sides = (canvas.width_px, canvas.height_px)
    if any(side % STEP_PX or not STEP_PX <= side <= _MOST_PX for side in sides):
        raise ModelError(f"{where}: canvas {sides[0]}x{sides[1]}, expected multiples of {STEP_PX} to {_MOST_PX}.")
    if made == canvas:
        return data

    def changed(sizes: tuple[int, ...]) -> tuple[int, ...]:
        if len(sizes) not in (2, 4):
            return sizes
        first = len(sizes) // 2 - 1
        height = _scaled(sizes[first], made.height_px, canvas.height_px)
        width = _scaled(sizes[first + 1], made.width_px, canvas.width_px)
        return (*sizes[:first], height, width, *sizes[first + 2 :])

    return with_sizes(data, where, changed)


def _scaled(size: int, made: int, asked: int) -> int:
    """A map's side, for another side of the canvas; what padding added to it stays."""
    stride = 1 << max(round(math.log2(made / max(size, 1))), 0)
    return asked // stride + size - made // stride
