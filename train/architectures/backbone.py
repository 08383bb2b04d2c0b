"""Architectures as backbones of others: by their features, without their last layer."""

from typing import Any

from torch import nn

from train.architectures.fer_residual import FerResidual
from train.architectures.mobilenet_v3 import MobileNetV3
from train.architectures.xception import Xception

BACKBONES: dict[str, type[nn.Module]] = {
    "fer_residual": FerResidual,
    "mobilenet_v3": MobileNetV3,
    "xception": Xception,
}


def backbone_of(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A network with `features(faces)` and `width`, its last layer taken off. Raises ValueError for another name."""
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown; expected one of {', '.join(BACKBONES)}")
    network = BACKBONES[name](**arguments)
    # No gradient would ever reach it.
    setattr(network, "fc" if hasattr(network, "fc") else "head", _Removed(network.width))
    return network


class _Removed(nn.Module):
    """Stands where a last layer was, and remembers what it took."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features
