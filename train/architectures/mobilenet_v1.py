"""MobileNet v1 (Howard et al., 2017) at full width, for a teacher that arrives knowing faces (`train.teachers`).

No board runs it: its 3.2 M parameters at 96 pixels cost twice the multiplications of fer-base, and its depthwise
convolutions lose most to INT8. It reads the faces as its first training did: three equal channels of 0..255 less the
channel means of VGGFace2, with TensorFlow's asymmetric padding where it halves a map.
"""

import torch
from torch import Tensor, nn

from train.architectures.pretrained_layers import as_pixels, conv_norm

# Output channels and stride of the depthwise-separable blocks.
_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
_VGGFACE2_MEANS_BGR = (103.939, 116.779, 123.68)


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
