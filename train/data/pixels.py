"""How raw pixels become what every network here sees."""

from torch import Tensor

# Scaling with whole numbers: an INT8 graph can then take the raw pixel itself, with zero point 128 and scale 1/64.
PIXEL_MEAN = 128.0
PIXEL_SCALE = 1 / 64


def normalise(pixels: Tensor) -> Tensor:
    """Raw grey pixels 0..255, any shape and dtype -> float32 in [-2, 2), as every network here is trained."""
    return (pixels.float() - PIXEL_MEAN) * PIXEL_SCALE
