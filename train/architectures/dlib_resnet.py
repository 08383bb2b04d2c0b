"""dlib's face recognition ResNet of 29 convolutions (King, 2017), for a teacher that arrives knowing faces.

No board runs it. It is a ResNet (He et al., 2015) whose halving blocks do not pad, so that their shortcut, a mean over
2x2 pixels with zeros for the new channels, may be a pixel wider than the convolutions beside it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.architectures.pretrained_layers import EPSILON, as_pixels

# Output channels of the blocks, and whether a block halves the map: dlib's own order.
BLOCKS = (
    *[(32, False)] * 3,
    (64, True),
    *[(64, False)] * 3,
    (128, True),
    *[(128, False)] * 2,
    (256, True),
    *[(256, False)] * 2,
    (256, True),
)
_MEANS_RGB = (122.782, 117.001, 104.298)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=EPSILON))


class DlibBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without weights: (n, inputs, h, w) -> (n, outputs, h, w), or half of it."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.first = _conv_norm(inputs, outputs, 3, 2 if halves else 1, 0 if halves else 1)
        self.second = _conv_norm(outputs, outputs, 3, 1, 1)

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
        self.stem = _conv_norm(3, 32, 7, 2, 0)
        channels = (32, *(outputs for outputs, _ in BLOCKS))
        self.blocks = nn.Sequential(
            *(DlibBlock(inputs, *block) for inputs, block in zip(channels, BLOCKS, strict=False))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], classes)
        self.second_head = nn.Linear(channels[-1], second_classes) if second_classes else None
        self.register_buffer("means", torch.tensor(_MEANS_RGB).view(1, 3, 1, 1), persistent=False)

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
