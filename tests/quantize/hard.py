"""Small networks of the kinds that quantize badly: SimAM attention with GroupNorm, hard-swish, and a planted outlier.

The blocks follow MobileNetV3 (Howard et al., 2019), SimAM (Yang et al., 2021) and GroupNorm (Wu and He, 2018).
"""

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.contracts import float_contract
from export.metadata import put_in_onnx
from export.onnx_model import onnx_of
from tests.export import small
from train.data.pixels import normalise


class SimAM(nn.Module):
    """Parameter-free attention: each value is weighed by how far it stands out of its channel."""

    def forward(self, features: Tensor) -> Tensor:
        count = features.shape[2] * features.shape[3] - 1
        squares = (features - features.mean((2, 3), keepdim=True)).pow(2)
        energy = squares / (4 * (squares.sum((2, 3), keepdim=True) / count + 1e-4)) + 0.5
        return features * torch.sigmoid(energy)


class InvertedResidual(nn.Module):
    """Expand, depthwise, attention, project; a shortcut where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module], simam: bool) -> None:
        super().__init__()
        hidden = 4 * inputs

        def norm(channels: int) -> nn.Module:
            return nn.GroupNorm(4, channels) if simam else nn.BatchNorm2d(channels)

        self.body = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=simam),
            norm(hidden),
            act(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=simam),
            norm(hidden),
            act(),
            SimAM() if simam else nn.Identity(),
            nn.Conv2d(hidden, outputs, 1, bias=simam),
            norm(outputs),
        )
        self.same = inputs == outputs and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        made = self.body(features)
        return features + made if self.same else made


class MobileLike(nn.Module):
    """Grey 48x48 face, normalised, to seven logits."""

    def __init__(self, act: type[nn.Module], simam: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 4, 1), nn.BatchNorm2d(16), act())
        blocks = [(16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1)]
        self.blocks = nn.Sequential(*(InvertedResidual(*block, act, simam) for block in blocks))
        self.head = nn.Sequential(nn.Conv2d(40, 160, 1), nn.ReLU())
        self.classes = nn.Linear(160, 7)

    def forward(self, faces: Tensor) -> Tensor:
        return self.classes(self.head(self.blocks(self.stem(faces))).mean((2, 3)))


class Outlier(nn.Module):
    """A network one of whose channels is a hundred thousand times the others, and is weighed as much less again."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.classes = nn.Linear(64, 7)

    def plant(self) -> None:
        """Scale one channel up, and its readers' weights down: in float nothing changes."""
        with torch.no_grad():
            self.second[0].weight[0] *= 1e5
            self.second[0].bias[0] *= 1e5
            self.third[0].weight[:, 0] /= 1e5

    def forward(self, faces: Tensor) -> Tensor:
        return self.classes(self.third(self.second(self.first(faces))).mean((2, 3)))


def trained(network: nn.Module, steps: int = 60) -> nn.Module:
    """The network after some seconds of training on the drawn faces, in eval mode."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = (torch.from_numpy(array) for array in small.drawn_faces(210, seed=0))
    inputs = normalise(images).unsqueeze(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for step in range(steps):
        batch = torch.arange(step * 42, step * 42 + 42) % len(labels)
        loss = F.cross_entropy(network(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return network.eval()


def write_onnx(network: nn.Module, path: Path) -> Path:
    """The network as a float ONNX with a contract, as a user brings one."""
    model = onnx_of(network)
    put_in_onnx(model, float_contract(small.info(measured={}), "1" * 64, layout="NCHW"))
    onnx.save(model, path)
    return path
