"""EfficientNet-Lite0 (Tan and Le, 2019; Lite: no squeeze-and-excitation, ReLU6), for a teacher trained on ImageNet."""

from torch import Tensor, nn

from train.architectures.pretrained_layers import as_pixels, conv_norm

# Of each stage: its number of blocks, kernel, stride of the first, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_WIDTH = 1280


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
        for count, kernel, stride, expansion, outputs in _STAGES:
            for index in range(count):
                layers.append(InvertedResidual(channels, outputs, kernel, 1 if index else stride, expansion))
                channels = outputs
        self.layers = nn.Sequential(*layers, conv_norm(channels, _WIDTH, 1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(_WIDTH, classes)
        self.second_head = nn.Linear(_WIDTH, second_classes) if second_classes else None

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
