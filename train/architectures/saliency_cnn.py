"""Saliency-guided CNN (Wei, 2021): what draws the eye is predicted first and then weighs the features.

The paper's: a saliency model of a dilated inception module and a difference-of-Gaussian module, trained with several
indicators together; its map as a prior for features of several layers; recognition of expressions, action units and
the intensity of a smile.

This project's, as its abstract leaves them open: rates 1, 2 and 4 in the inception module; four differences of
Gaussians on the picture itself, each with its own two learnable scales; one 3x3 convolution to the map; a layer's
features are multiplied by 1 + prior, the prior having mean 1 over the picture, so that a flat map changes nothing but
their scale; the trunk is the project's own residual one, narrow enough for a CPU; one linear head a goal.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.architectures.fer_residual import ResidualBlock

_RATES = (1, 2, 4)
# Scales in pixels a difference begins with: the inner one, and the outer as 1.6 times it, which is close to a Laplacian
# of Gaussian (Marr and Hildreth, 1980).
_SCALES_PX = (0.7, 1.1, 1.7, 2.6)
_OUTER = 1.6


def gaussian_kernel(sigma: Tensor, side: int) -> Tensor:
    """Gaussians (k, side, side) with sum 1, of standard deviations `sigma` (k,) in pixels; with a gradient."""
    offsets = torch.arange(side, dtype=sigma.dtype, device=sigma.device) - side // 2
    line = torch.exp(-offsets.square() / (2 * sigma[:, None].square()))
    kernel = line[:, :, None] * line[:, None, :]
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)


class DifferenceOfGaussians(nn.Module):
    """Differences of two Gaussians with learnable scales: (n, 1, h, w) -> (n, k, h, w).

    Outside training the kernels are a constant: an exported graph holds them as ordinary weights.
    """

    def __init__(self, scales_px: Sequence[float] = _SCALES_PX, side: int = 13) -> None:
        super().__init__()
        inner = torch.tensor(list(scales_px))
        self.side = side
        self.log_inner, self.log_ratio = nn.Parameter(inner.log()), nn.Parameter(torch.full_like(inner, _OUTER).log())
        self.register_buffer("kernel", self.kernels().detach(), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.refresh())

    def kernels(self) -> Tensor:
        """The kernels by the scales of now, (k, 1, side, side); each sums to 0."""
        inner = self.log_inner.exp()
        outer = inner * self.log_ratio.exp()
        return (gaussian_kernel(inner, self.side) - gaussian_kernel(outer, self.side)).unsqueeze(1)

    def refresh(self) -> None:
        """Make the constant follow the scales."""
        self.kernel = self.kernels().detach()

    def train(self, mode: bool = True) -> "DifferenceOfGaussians":
        """As nn.Module's; leaving training, the constant follows the scales."""
        if not mode:
            self.refresh()
        return super().train(mode)

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        kernel = self.kernels() if self.training else self.kernel
        return F.conv2d(faces, kernel, padding=self.side // 2)


def _convolution(inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class DilatedInception(nn.Module):
    """The same place seen narrowly and widely at once: (n, inputs, h, w) -> (n, outputs, h, w).

    Rates of 1 alone, as many as the paper's, have its cost without its reach: what dilation is worth (`train ablate`).
    """

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int] = _RATES) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_convolution(inputs, outputs, 3, dilation=rate) for rate in rates)
        self.merge = _convolution(outputs * len(rates), outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return self.merge(torch.cat([branch(features) for branch in self.branches], dim=1))


class SaliencyModel(nn.Module):
    """Where people look: (n, 1, h, w) float, normalised -> scores (n, 1, h / 2, w / 2), before softmax over pixels."""

    def __init__(self, channels: int, *, rates: Sequence[int] = _RATES, differences: bool = True) -> None:
        super().__init__()
        self.differences = DifferenceOfGaussians() if differences else None
        self.stem = _convolution(1 + (len(_SCALES_PX) if differences else 0), channels, 3, stride=2)
        self.inception = DilatedInception(channels, channels, rates)
        self.score = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        seen = faces if self.differences is None else torch.cat([faces, self.differences(faces)], dim=1)
        return self.score(self.inception(self.stem(seen)))


def prior_of(scores: Tensor) -> Tensor:
    """Scores (n, 1, h, w) -> a prior of the same shape, 0 or more, with mean 1 over the pixels."""
    flat = scores.flatten(1)
    return (flat.softmax(dim=1) * flat.shape[1]).view_as(scores)


class SaliencyCnn(nn.Module):
    """Grey face to the outputs of a task: (n, 1, h, w) float, normalised -> (n, classes) float.

    `goals` are further heads, the number of outputs by the name of a goal; in training mode it answers {"task",
    "saliency": (n, pixels), and every goal}. `output` = "saliency" makes the map itself the task, for training on gaze.
    `rates` of the inception module and `differences` of Gaussians are for ablations.
    """

    def __init__(
        self,
        *,
        stem: int = 16,
        widths: Sequence[int] = (16, 32, 64),
        saliency_channels: int = 8,
        rates: Sequence[int] = _RATES,
        differences: bool = True,
        classes: int = 7,
        goals: dict[str, int] | None = None,
        output: str = "task",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if output not in ("task", "saliency"):
            raise ValueError(f"output is {output!r}; expected task or saliency")
        self.saliency = SaliencyModel(saliency_channels, rates=rates, differences=differences)
        self.output = output
        if output == "saliency":
            return
        self.stem = _convolution(1, stem, 3, stride=2)
        channels = [stem, *widths]
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[i], channels[i + 1], 1 if i == 0 else 2) for i in range(len(widths))
        )
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(channels[-1], classes)
        self.goals = nn.ModuleDict({_key(name): nn.Linear(channels[-1], size) for name, size in (goals or {}).items()})
        self._goal_names = tuple(goals or {})

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the heads: (n, 1, h, w) -> (n, width)."""
        return self._guided(faces, self.saliency(faces))

    def _guided(self, faces: Tensor, scores: Tensor) -> Tensor:
        prior, features = prior_of(scores), self.stem(faces)
        for number, block in enumerate(self.blocks):
            features = features * (1 + prior)
            features = block(features)
            if number + 1 < len(self.blocks):
                # The next block halves the picture, and the prior with it.
                prior = prior if number == 0 else F.avg_pool2d(prior, 2)
        return self.dropout(features.mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        scores = self.saliency(faces)
        if self.output == "saliency":
            return scores.flatten(1)
        features = self._guided(faces, scores)
        if not self.training:
            return self.head(features)
        others = {name: self.goals[_key(name)](features) for name in self._goal_names}
        return {"task": self.head(features), "saliency": scores.flatten(1), **others}


def _key(name: str) -> str:
    return name.replace("-", "_")
