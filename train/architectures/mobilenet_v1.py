"""MobileNet v1 (Howard et al., 2017) at full width, for a teacher that arrives knowing faces (`train.teachers`).

No board runs it: its 3.2 M parameters at 96 pixels cost twice the multiplications of fer-base, and its depthwise
convolutions lose most to INT8. It reads the faces as its first training did: three equal channels of 0..255 less the
channel means of VGGFace2, with TensorFlow's asymmetric padding where it halves a map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.pixels import PIXEL_MEAN, PIXEL_SCALE

# Output channels and stride of the depthwise-separable blocks.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_VGGFACE2_MEANS_BGR = (103.939, 116.779, 123.68)
_EPSILON = 1e-3


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


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    """A padded convolution, BatchNorm with TensorFlow's epsilon, and ReLU6."""
    convolution = PaddedConv(inputs, outputs, kernel, stride, groups=groups)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=_EPSILON), nn.ReLU6())


class MobileNetV1(nn.Module):
    """Grey faces to logits: (n, 1, h, w) float, normalised -> (n, classes) float; other sides are scaled to `side`.

    With `second_classes`, training mode answers {"task": (n, classes), "second": (n, second_classes)}.
    """

    def __init__(self, *, side: int = 96, classes: int = 7, second_classes: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.side = side
        layers, channels = [conv_norm(3, 32, 3, 2)], 32
        for width, stride in _BLOCKS:
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
        """What the first layer sees: (n, 1, h, w) normalised -> (n, 3, side, side)."""
        if faces.shape[-1] != self.side:
            faces = F.interpolate(faces, (self.side, self.side), mode="bilinear", align_corners=False)
        return faces / PIXEL_SCALE + PIXEL_MEAN - self.means

    def features(self, faces: Tensor) -> Tensor:
        """What the last layer sees: (n, 1, h, w) -> (n, width)."""
        return self.dropout(self.layers(self.prepared(faces)).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        features = self.features(faces)
        if self.training and self.second_head is not None:
            return {"task": self.head(features), "second": self.second_head(features)}
        return self.head(features)
