"""Improved MobileNetV3 (Jiang et al., 2024), each of its three changes with a switch.

The paper's: MobileNetV3 (Howard et al., 2019) whose inverted residual has a dilated convolution in its shortcut, SimAM
(Yang et al., 2021) in place of squeeze-and-excitation, GroupNorm (Wu and He, 2018) in place of BatchNorm.

This project's, as the paper's abstract leaves it open: the small variant's table, without the halving of its first
block because a face has 48 pixels and not 224 (a `stem_stride` of 1 takes out the stem's as well); `width` scales it
for a CPU; the dilated convolution is a 3x3 depthwise one of rate 2 with its own normalisation, in blocks that have a
shortcut; groups of eight channels; one linear layer as head. Activations are the paper's own, `relu` in their place is
for INT8, which hard-swish loses much to.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Kernel, expansion as a multiple of the inputs, outputs, attention, hard-swish, stride: MobileNetV3-Small from its
# second block on (Howard et al., 2019, table 2).
_BLOCKS = (
    (3, 1.0, 16, True, False, 1),
    (3, 4.5, 24, False, False, 2),
    (3, 3.67, 24, False, False, 1),
    (5, 4.0, 40, True, True, 2),
    (5, 6.0, 40, True, True, 1),
    (5, 6.0, 40, True, True, 1),
    (5, 3.0, 48, True, True, 1),
    (5, 3.0, 48, True, True, 1),
    (5, 6.0, 96, True, True, 2),
    (5, 6.0, 96, True, True, 1),
    (5, 6.0, 96, True, True, 1),
)
_LAST_EXPANSION = 6
_GROUP = 8


def simam(features: Tensor, regulariser: float = 1e-4) -> Tensor:
    """SimAM (Yang et al., 2021): each neuron weighed by how much it stands out in its channel; (n, c, h, w) -> same.

    The minimal energy of a neuron t with channel mean m and variance v is 4(v + l) / ((t - m)^2 + 2v + 2l) (equation
    5); the features are multiplied by the sigmoid of its inverse.
    """
    count = max(features.shape[2] * features.shape[3] - 1, 1)  # one neuron alone stands out from nothing
    squared = (features - features.mean(dim=(2, 3), keepdim=True)).square()
    variance = squared.sum(dim=(2, 3), keepdim=True) / count
    return features * torch.sigmoid(squared / (4 * (variance + regulariser)) + 0.5)


class SimAM(nn.Module):
    """See `simam`; it has no parameters."""

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) -> the same shape."""
        return simam(features)


class GroupNorm(nn.GroupNorm):
    """GroupNorm (Wu and He, 2018), which answers by means of channels once trained.

    In eval mode the same numbers come from each channel's own mean and mean square, so that an exported graph has
    nothing but reductions and one product and sum a channel; the usual form reshapes every feature map, which costs
    TFLite three transpositions a layer.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) -> the same shape."""
        if self.training:
            return super().forward(features)
        mean = self._over_group(features.mean(dim=(2, 3)))
        variance = self._over_group((features * features).mean(dim=(2, 3))) - mean * mean
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return features * scale[:, :, None, None] + (self.bias - mean * scale)[:, :, None, None]

    def _over_group(self, values: Tensor) -> Tensor:
        """The mean over each group of (n, c), given to all of its channels."""
        members = self.num_channels // self.num_groups
        means = values.reshape(-1, self.num_groups, members).mean(dim=2, keepdim=True)
        return means.expand(-1, -1, members).reshape(-1, self.num_channels)


class SqueezeExcitation(nn.Module):
    """Channels weighed by two linear layers on their means (Hu et al., 2018), with MobileNetV3's hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _rounded(channels / 4)
        self.reduce, self.expand = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) -> the same shape."""
        means = features.mean(dim=(2, 3), keepdim=True)
        return features * F.hardsigmoid(self.expand(torch.relu(self.reduce(means))))


_ATTENTION: dict[str, Callable[[int], nn.Module]] = {
    "simam": lambda channels: SimAM(),
    "se": SqueezeExcitation,
    "none": lambda channels: nn.Identity(),
}
_NORM: dict[str, Callable[[int], nn.Module]] = {
    "group": lambda channels: GroupNorm(channels // _GROUP, channels),
    "batch": nn.BatchNorm2d,
}
_ACTIVATION: dict[str, Callable[[], nn.Module]] = {"hard_swish": nn.Hardswish, "relu": nn.ReLU}


def _rounded(channels: float) -> int:
    """The nearest multiple of a group, at least one group."""
    return max(_GROUP, round(channels / _GROUP) * _GROUP)


class _Convolution(nn.Sequential):
    """Convolution, normalisation and, where given, activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        norm: str,
        activation: nn.Module | None = None,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        layers: list[nn.Module] = [convolution, _NORM[norm](outputs)]
        super().__init__(*layers, *([] if activation is None else [activation]))


class InvertedResidual(nn.Module):
    """Expand, depthwise, attend, project: (n, inputs, h, w) -> (n, outputs, h / stride, w / stride).

    With a shortcut where shapes allow; `dilated` puts a dilated depthwise convolution into it, added beside the
    features themselves, so that the gradient keeps a way without weights.
    """

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        attention: str,
        norm: str,
        activation: Callable[[], nn.Module],
        dilated: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(_Convolution(inputs, expanded, 1, norm, activation()))
        layers.append(_Convolution(expanded, expanded, kernel, norm, activation(), stride=stride, groups=expanded))
        layers.append(_ATTENTION[attention](expanded))
        layers.append(_Convolution(expanded, outputs, 1, norm))
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs
        wide = self.has_shortcut and dilated
        self.context = _Convolution(inputs, outputs, 3, norm, groups=inputs, dilation=2) if wide else None

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        answer = self.layers(features)
        if self.context is not None:
            answer = answer + self.context(features)
        return answer + features if self.has_shortcut else answer


class MobileNetV3(nn.Module):
    """Grey face to the outputs of a task: (n, 1, h, w) float, normalised -> (n, classes) float.

    `attention` is "simam", "se" or "none", `norm` "group" or "batch", `activation` "hard_swish" or "relu",
    `dilated_shortcut` on or off; `blocks` keeps the first of the table's eleven. Raises ValueError for another.
    """

    def __init__(
        self,
        *,
        width: float = 0.5,
        attention: str = "simam",
        norm: str = "group",
        dilated_shortcut: bool = True,
        activation: str = "hard_swish",
        blocks: int = len(_BLOCKS),
        stem_stride: int = 2,
        classes: int = 7,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for value, known in ((attention, _ATTENTION), (norm, _NORM), (activation, _ACTIVATION)):
            if value not in known:
                raise ValueError(f"{value!r} is unknown; expected one of {', '.join(known)}")
        channels = _rounded(16 * width)
        self.stem = _Convolution(1, channels, 3, norm, _ACTIVATION[activation](), stride=stem_stride)
        layers = []
        for kernel, expansion, outputs, attended, swish, stride in _BLOCKS[:blocks]:
            block = InvertedResidual(
                channels,
                _rounded(channels * expansion),
                _rounded(outputs * width),
                kernel,
                stride,
                attention=attention if attended else "none",
                norm=norm,
                activation=_ACTIVATION[activation if swish else "relu"],
                dilated=dilated_shortcut,
            )
            layers.append(block)
            channels = _rounded(outputs * width)
        self.blocks = nn.Sequential(*layers)
        self.last = _Convolution(channels, channels * _LAST_EXPANSION, 1, norm, _ACTIVATION[activation]())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * _LAST_EXPANSION, classes)

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        return self.dropout(self.last(self.blocks(self.stem(faces))).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.features(faces))
