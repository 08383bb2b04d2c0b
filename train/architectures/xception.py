"""Xception (Chollet, 2017), as Nasri et al. (2020) fine-tune it for faces.

The paper's: Xception with ImageNet weights, fine-tuned to seven expressions under k-fold cross-validation
(`train.studies.kfold`).

This project's: written from Chollet's figure 5, with the parameter names of timm's `legacy_xception`, whose published
weights `adapted` turns into those of a grey network; a stem that keeps more of a 48-pixel face (`stem_stride` 1 and a
padded first convolution, which also keeps the pixels' scaling apart from the weights in an exported graph); `width` and
`middle` to make it small enough for a CPU or a board, where published weights no longer fit.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.pixels import PIXEL_SCALE

# timm's weights expect (pixel / 255 - 0.5) / 0.5; ours see (pixel - 128) * PIXEL_SCALE, which is larger by this much.
_SCALE_RATIO = PIXEL_SCALE * 127.5
_MIDDLE = 8


class SeparableConvolution(nn.Module):
    """A 3x3 convolution of each channel, then one of 1x1 across them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w)."""
        return self.pointwise(self.conv1(features))


class MaxPool(nn.MaxPool2d):
    """Max pooling whose padding, outside training, is the mirror image: the same numbers, as a window already has them.

    The usual padding is minus infinity, which eight bits cannot say.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h / stride, w / stride)."""
        if self.training:
            return super().forward(features)
        return F.max_pool2d(F.pad(features, [self.padding] * 4, mode="reflect"), self.kernel_size, self.stride)


class Block(nn.Module):
    """Separable convolutions, each behind a ReLU, and a shortcut: (n, inputs, h, w) -> (n, outputs, h / stride, ...).

    Channels grow at the first convolution, or at the last one where `grow_last`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        repeats: int,
        *,
        stride: int = 1,
        start_with_relu: bool = True,
        grow_last: bool = False,
    ) -> None:
        super().__init__()
        middle = inputs if grow_last else outputs
        widths = [inputs, *[middle] * (repeats - 1), outputs]
        layers: list[nn.Module] = []
        for position, (narrow, wide) in enumerate(itertools.pairwise(widths)):
            relu = [nn.ReLU()] if start_with_relu or position > 0 else []
            layers += [*relu, SeparableConvolution(narrow, wide), nn.BatchNorm2d(wide)]
        if stride > 1:
            layers.append(MaxPool(3, stride, 1))
        self.rep = nn.Sequential(*layers)
        self.skip, self.skipbn = None, None
        if inputs != outputs or stride > 1:
            self.skip, self.skipbn = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return self.rep(features) + (features if self.skip is None else self.skipbn(self._projected(features)))

    def _projected(self, features: Tensor) -> Tensor:
        """The shortcut's 1x1 convolution, which in training first leaves out the pixels it would step over.

        The same numbers: but torch 2.13 crashes on a CPU in the gradient of a strided 1x1 convolution of 46 pixels.
        """
        if not self.training:
            return self.skip(features)
        step = self.skip.stride[0]
        return F.conv2d(features[:, :, ::step, ::step], self.skip.weight)


class Xception(nn.Module):
    """Grey face to the outputs of a task: (n, 1, h, w) float, normalised -> (n, classes) float.

    `width` multiplies every number of channels, `middle` is how many of the eight equal blocks there are.
    """

    head_name = "fc"

    def __init__(
        self, *, width: float = 1.0, middle: int = _MIDDLE, stem_stride: int = 1, classes: int = 7, dropout: float = 0.2
    ) -> None:
        super().__init__()
        a, b, c, d, e, f, g, h = (max(8, round(n * width / 8) * 8) for n in (32, 64, 128, 256, 728, 1024, 1536, 2048))
        self.conv1, self.bn1 = nn.Conv2d(1, a, 3, stem_stride, padding=1, bias=False), nn.BatchNorm2d(a)
        self.conv2, self.bn2 = nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b)
        blocks = [Block(b, c, 2, stride=2, start_with_relu=False), Block(c, d, 2, stride=2), Block(d, e, 2, stride=2)]
        blocks += [Block(e, e, 3) for _ in range(middle)]
        blocks.append(Block(e, f, 2, stride=2, grow_last=True))
        self._blocks = [f"block{number}" for number in range(1, len(blocks) + 1)]
        for name, block in zip(self._blocks, blocks, strict=True):
            self.add_module(name, block)
        self.conv3, self.bn3 = SeparableConvolution(f, g), nn.BatchNorm2d(g)
        self.conv4, self.bn4 = SeparableConvolution(g, h), nn.BatchNorm2d(h)
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(h, classes)

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.fc.in_features

    def features(self, faces: Tensor) -> Tensor:
        """Features for the last layer: (n, 1, h, w) -> (n, width)."""
        features = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(faces))))))
        for name in self._blocks:
            features = self.get_submodule(name)(features)
        features = torch.relu(self.bn3(self.conv3(features)))
        return self.dropout(torch.relu(self.bn4(self.conv4(features))).mean((2, 3)))

    def forward(self, faces: Tensor) -> Tensor:
        """See the class."""
        return self.fc(self.features(faces))

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a timm checkpoint for a grey network: the first layer's colours summed, its scale moved.

        A grey pixel is the same red, green and blue. Others are left as they are, and so is a grey checkpoint.
        """
        first = state.get("conv1.weight")
        if first is None or first.ndim != 4 or first.shape[1] != 3:
            return state
        return {**state, "conv1.weight": first.sum(dim=1, keepdim=True) / _SCALE_RATIO}
