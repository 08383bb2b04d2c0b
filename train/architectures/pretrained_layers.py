"""Layers of networks that others trained and this project fine-tunes as teachers."""

import torch.nn.functional as F
from torch import Tensor, nn

from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE

# TensorFlow's and dlib's, where torch has 1e-5.
EPSILON = 1e-3


class PaddedConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: at stride 2 an even side is padded below and on the right alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride), rounded up."""
        height, width = (self._padding(side) for side in features.shape[-2:])
        if height % 2 == 0 and width % 2 == 0:
            half = (height // 2, width // 2)
            return F.conv2d(features, self.weight, None, self.stride, half, 1, self.groups)
        padded = F.pad(features, (width // 2, width - width // 2, height // 2, height - height // 2))
        return F.conv2d(padded, self.weight, None, self.stride, 0, 1, self.groups)

    def _padding(self, side: int) -> int:
        stride, kernel = self.stride[0], self.kernel_size[0]
        return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """A padded convolution, BatchNorm, and ReLU6 unless there is no `activation`."""
    layers = [PaddedConv(inputs, outputs, kernel, stride, groups=groups), nn.BatchNorm2d(outputs, eps=EPSILON)]
    return nn.Sequential(*layers, nn.ReLU6()) if activation else nn.Sequential(*layers)


def as_pixels(faces: Tensor, side: int) -> Tensor:
    """Normalised faces (n, 1, h, w) as grey values 0..255, scaled to (n, 1, side, side)."""
    if faces.shape[-1] != side:
        faces = F.interpolate(faces, (side, side), mode="bilinear", align_corners=False)
    return faces / PIXEL_SCALE + PIXEL_MEAN
