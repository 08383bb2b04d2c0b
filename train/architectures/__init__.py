"""The architectures by the name a recipe gives them: one file a published system, and the project's own family."""

from collections.abc import Callable
from typing import Any

from torch import nn

from fer_edge.errors import UsageError

from train.architectures.fer_residual import FerResidual
from train.architectures.identity_invariant import IdentityInvariant
from train.architectures.mobilenet_v3 import MobileNetV3
from train.architectures.pretrained_networks import DlibResNet, EfficientNetLite0, MobileNetV1
from train.architectures.saliency_cnn import SaliencyCnn
from train.architectures.xception import Xception

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "dlib_resnet": DlibResNet,
    "efficientnet_lite0": EfficientNetLite0,
    "fer_residual": FerResidual,
    "identity_invariant": IdentityInvariant,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v3": MobileNetV3,
    "saliency_cnn": SaliencyCnn,
    "xception": Xception,
}


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The untrained network `name`. Raises UsageError when the name or an argument is unknown."""
    if name not in ARCHITECTURES:
        raise UsageError(f"architecture {name!r} is unknown; there are: {', '.join(sorted(ARCHITECTURES))}.")
    try:
        return ARCHITECTURES[name](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"architecture {name}: {error}.") from None
