"""Networks that others trained, and that are fine-tuned here as teachers; no board runs them.

`MobileNetV1` (Howard et al., 2017) as HSE's FaceRes has it, `EfficientNetLite0` (TensorFlow's, after Tan and Le, 2019),
and dlib's face recognition ResNet of 29 convolutions (King, 2017). That one's halving blocks do not pad, so that their
shortcut, a mean over 2x2 pixels with zeros for the new channels, may be a pixel wider than the convolutions beside it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE

# Output channels of the blocks, and whether a block halves the map: dlib's own order.
DLIB_BLOCKS = (
    *[(32, False)] * 3,
    (64, True),
    *[(64, False)] * 3,
    (128, True),
    *[(128, False)] * 2,
    (256, True),
    *[(256, False)] * 2,
    (256, True),
)
_DLIB_MEANS_RGB = (122.782, 117.001, 104.298)
# Of each stage: its number of blocks, kernel, stride of the first, expansion, output channels.
_EFFICIENTNET_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EFFICIENTNET_WIDTH = 1280
# Output channels and stride of the depthwise-separable blocks.
_MOBILENET_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_VGGFACE2_MEANS_BGR = (103.939, 116.779, 123.68)
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


class MobileNetV1(nn.Module):
    """Grey faces to logits: (n, 1, h, w) float, normalised -> (n, classes) float; other sides are scaled to `side`.

    With `second_classes`, training mode answers {"task": (n, classes), "second": (n, second_classes)}.
    """

    def __init__(self, *, side: int = 96, classes: int = 7, second_classes: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.side = side
        layers, channels = [conv_norm(3, 32, 3, 2)], 32
        for width, stride in _MOBILENET_BLOCKS:
            layers.append(conv_norm(channels, channels, 3, stride, groups=channels))
            layers.append(conv_norm(channels, width, 1))
            channels = width
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        self.second_head = nn.Linear(channels, second_classes) if second_classes else None
        self.register_buffer("means", torch.tensor(_VGGFACE2_MEANS_BGR).view(1, 3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def prepared(self, faces: Tensor) -> Tensor:
        """Input of the first layer: (n, 1, h, w) normalised -> (n, 3, side, side)."""
        return as_pixels(faces, self.side) - self.means

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        return self.dropout(self.layers(self.prepared(faces)).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        features = self.features(faces)
        if self.training and self.second_head is not None:
            return {"task": self.head(features), "second": self.second_head(features)}
        return self.head(features)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project (Sandler et al., 2018).

    (n, inputs, h, w) -> (n, outputs, h / stride, w / stride), rounded up.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = [conv_norm(inputs, wide, 1)] if expansion > 1 else []
        layers.append(conv_norm(wide, wide, kernel, stride, groups=wide))
        layers.append(conv_norm(wide, outputs, 1, activation=False))
        self.layers = nn.Sequential(*layers)
        self.residual = inputs == outputs and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        out = self.layers(features)
        return features + out if self.residual else out


class EfficientNetLite0(nn.Module):
    """Grey faces to logits: (n, 1, h, w) float, normalised -> (n, classes) float; other sides are scaled to `side`.

    With `second_classes`, training mode answers {"task": (n, classes), "second": (n, second_classes)}.
    """

    def __init__(self, *, side: int = 112, classes: int = 7, second_classes: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.side = side
        layers: list[nn.Module] = [conv_norm(3, 32, 3, 2)]
        channels = 32
        for count, kernel, stride, expansion, outputs in _EFFICIENTNET_STAGES:
            for index in range(count):
                layers.append(InvertedResidual(channels, outputs, kernel, 1 if index else stride, expansion))
                channels = outputs
        self.layers = nn.Sequential(*layers, conv_norm(channels, _EFFICIENTNET_WIDTH, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(_EFFICIENTNET_WIDTH, classes)
        self.second_head = nn.Linear(_EFFICIENTNET_WIDTH, second_classes) if second_classes else None

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        pixels = (as_pixels(faces, self.side) - 127) / 128
        return self.dropout(self.layers(pixels.expand(-1, 3, -1, -1)).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        features = self.features(faces)
        if self.training and self.second_head is not None:
            return {"task": self.head(features), "second": self.second_head(features)}
        return self.head(features)


def _dlib_conv_norm(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=EPSILON))


class DlibBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights: (n, inputs, h, w) -> (n, outputs, h, w), or half of it."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.first = _dlib_conv_norm(inputs, outputs, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = _dlib_conv_norm(outputs, outputs, 3, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        shortcut = features
        if self.halves:
            shortcut = F.avg_pool2d(features, 2, 2)
            missing = [max(3 - side, 0) for side in reversed(features.shape[2:])]
            features = F.pad(features, (0, missing[0], 0, missing[1]))
        out = self.second(torch.relu(self.first(features)))
        smaller = [wide - narrow for wide, narrow in zip(shortcut.shape[2:], out.shape[2:], strict=True)]
        out = F.pad(out, (0, smaller[1], 0, smaller[0]))
        new_channels = out.shape[1] - shortcut.shape[1]
        return torch.relu(out + F.pad(shortcut, (0, 0, 0, 0, 0, new_channels)))


class DlibResNet(nn.Module):
    """Grey faces to logits: (n, 1, h, w) float, normalised -> (n, classes) float; other sides are scaled to `side`.

    With `second_classes`, training mode answers {"task": (n, classes), "second": (n, second_classes)}.
    """

    def __init__(self, *, side: int = 112, classes: int = 7, second_classes: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.side = side
        self.stem = _dlib_conv_norm(3, 32, 7, 2, 0)
        channels = (32, *(outputs for outputs, _ in DLIB_BLOCKS))
        self.blocks = nn.Sequential(
            *(DlibBlock(inputs, *block) for inputs, block in zip(channels, DLIB_BLOCKS, strict=False))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], classes)
        self.second_head = nn.Linear(channels[-1], second_classes) if second_classes else None
        self.register_buffer("means", torch.tensor(_DLIB_MEANS_RGB).view(1, 3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        pixels = (as_pixels(faces, self.side) - self.means) / 255
        maps = F.max_pool2d(torch.relu(self.stem(pixels)), 3, 2)
        return self.dropout(self.blocks(maps).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        features = self.features(faces)
        if self.training and self.second_head is not None:
            return {"task": self.head(features), "second": self.second_head(features)}
        return self.head(features)
