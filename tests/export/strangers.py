"""Networks as other people have them, small and with random weights: what `adopt` must take."""

import torch
from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """A block of MobileNetV2 (Sandler et al., 2018), as torchvision has it."""

    def __init__(self, width: int, out: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = width * expand
        self.shortcut = stride == 1 and width == out
        self.layers = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        made = self.layers(x)
        return x + made if self.shortcut else made


def mobilenet_v2(classes: int = 7, channels: int = 3) -> nn.Module:
    """Like torchvision's, narrower."""
    return _settled(
        nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            InvertedResidual(8, 8, 1, 1),
            InvertedResidual(8, 16, 2, 4),
            InvertedResidual(16, 16, 1, 4),
            InvertedResidual(16, 32, 2, 4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(32, classes),
        ),
        channels,
    )


class BasicBlock(nn.Module):
    """A block of ResNet (He et al., 2016), as timm has it."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.one, self.norm_one = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.two, self.norm_two = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.down = None
        if stride > 1 or width != out:
            self.down = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        made = self.norm_two(self.two(torch.relu(self.norm_one(self.one(x)))))
        return torch.relu(made + (x if self.down is None else self.down(x)))


def resnet(classes: int = 8) -> nn.Module:
    """Like timm's, shallower."""
    return _settled(
        nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            BasicBlock(8, 8, 1),
            BasicBlock(8, 16, 2),
            BasicBlock(16, 32, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, classes),
        ),
        3,
    )


class TinyVit(nn.Module):
    """A vision transformer (Dosovitskiy et al., 2021) of two layers."""

    def __init__(self, classes: int = 6, side: int = 64, patch: int = 8, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.place = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 96, dropout=0.0, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1) + self.place
        return self.head(self.layers(tokens)[:, 0])


def vit() -> nn.Module:
    """A small vision transformer for 64 px, six classes."""
    torch.manual_seed(0)
    return TinyVit().eval()


def _settled(network: nn.Module, channels: int) -> nn.Module:
    """BatchNorm with statistics of noise, so that the outputs of random weights differ from face to face."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    network.train()
    with torch.no_grad():
        for _ in range(8):
            network(torch.randn(16, channels, 64, 64))
    return network.eval()
