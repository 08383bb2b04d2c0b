"""The project's own deployable family: plain residual 3x3 convolutions, scaled by width and depth.

Chosen for quantization: every convolution is followed by a BatchNorm that folds into it, the only activation is ReLU,
there is no squeeze-and-excitation, no hard-swish. The stem halves 48x48 at once, because an edge CPU pays most for
the first, large feature maps. Residual blocks are those of He et al. (2015), with a projection where shapes change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: (n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn(inputs, outputs, 3, stride)
        self.second = _conv_bn(outputs, outputs, 3, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv_bn(inputs, outputs, 1, stride)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return torch.relu(self.second(torch.relu(self.first(features))) + self.shortcut(features))


class FerResidual(nn.Module):
    """Grey 48x48 face to logits: (n, 1, 48, 48) float, normalised -> (n, classes) float.

    `widths` are the channels of the stages at 24, 12, 6, ... pixels; `depths` their numbers of blocks. A `stem_stride`
    of 1 doubles those sides: for teachers, which no board runs. With `second_classes`, training mode answers
    {"task": (n, classes), "second": (n, second_classes)}: a second task, left out of every export.
    """

    def __init__(
        self,
        *,
        stem: int = 32,
        widths: Sequence[int] = (32, 64, 128),
        depths: Sequence[int] = (2, 2, 2),
        stem_stride: int = 2,
        classes: int = 7,
        second_classes: int = 0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stem = _conv_bn(1, stem, 3, stem_stride)
        blocks: list[nn.Module] = []
        channels = stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(ResidualBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)
        self.second_head = nn.Linear(channels, second_classes) if second_classes else None

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights to start from: their second head becomes the first where only it has the classes of this task.

        So a network for the eight classes of FER+ begins where the second head of one for seven ended.
        """
        second = {key: value for key, value in state.items() if key.startswith("second_head.")}
        classes = self.head.out_features
        if not second or state["head.bias"].numel() == classes or second["second_head.bias"].numel() != classes:
            return state
        return {**state, **{key.removeprefix("second_"): value for key, value in second.items()}}

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        return self.dropout(self.blocks(torch.relu(self.stem(faces))).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        features = self.features(faces)
        if self.training and self.second_head is not None:
            return {"task": self.head(features), "second": self.second_head(features)}
        return self.head(features)
