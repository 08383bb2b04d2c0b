"""Identity-invariant representation (Kim, Kim and Song, 2024) on any backbone of the project.

The paper's: residual modules on a backbone that give an expression and an identity feature, attribute features from
CLIP, an objective in mutual information that separates the two, a regression to valence and arousal, and attributes
that can be attached or detached when it answers.

This project's, as its abstract leaves them open: a residual module is the features plus two linear layers with a ReLU;
independence is the CLUB upper bound (Cheng et al., 2020) between the two features, minimised, with a Gaussian whose
mean and variance are predicted; the attributes are held by the InfoNCE lower bound (van den Oord et al., 2018) between
identity feature and attributes, maximised. Both features are standardised before either bound, so that none can be met
by shrinking them. Two things came of measuring: the identity module reads the backbone's features and does not shape
them, or the attributes it asks for reach the expression as well; and what a ridge regression finds of the attributes in
the expression feature is minimised besides, because features outrun CLUB's estimator. Detached, the head sees the
expression feature alone; attached, both features side by side.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.architectures.fer_residual import FerResidual
from train.architectures.information import club, gaussian_nll
from train.architectures.mobilenet_v3 import MobileNetV3
from train.architectures.xception import Xception

_BACKBONES: dict[str, type[nn.Module]] = {
    "fer_residual": FerResidual,
    "mobilenet_v3": MobileNetV3,
    "xception": Xception,
}


class ResidualModule(nn.Module):
    """Features plus what two linear layers change in them: (n, width) -> (n, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return features + self.change(features)


class GaussianEstimator(nn.Module):
    """q(y | x) as a Gaussian: (n, width) -> its mean and the logarithm of its variance, (n, width) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.log_variance = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.mean(features), self.log_variance(features)


class IdentityInvariant(nn.Module):
    """Grey face to the outputs of a task: (n, 1, h, w) float, normalised -> (n, classes) float.

    `backbone` names another architecture, `backbone_arguments` are its own; its last layer is not used. `attached`
    chooses whether answers outside training lean on the identity as well. In training mode it answers
    {"task", "attached": (n, classes), "independence": (n, 2), "invariance": (n, width), "attributes": (n, attributes)};
    see `train.fit.attributes`.
    """

    def __init__(
        self,
        *,
        backbone: str = "fer_residual",
        backbone_arguments: dict[str, Any] | None = None,
        classes: int = 2,
        attributes: int = 6,
        attached: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = _backbone_of(backbone, backbone_arguments or {})
        width = self.backbone.width
        self.expression, self.identity = ResidualModule(width), ResidualModule(width)
        self.head, self.attached_head = nn.Linear(width, classes), nn.Linear(2 * width, classes)
        self.estimator, self.keys = GaussianEstimator(width), nn.Linear(width, attributes)
        self.attached = attached

    def split(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Expression and identity features, (n, width) each."""
        features = self.backbone.features(faces)
        return self.expression(features), self.identity(features.detach())

    def features(self, faces: Tensor) -> Tensor:
        """The expression feature, (n, width)."""
        return self.expression(self.backbone.features(faces))

    @property
    def width(self) -> int:
        """Channels of `features`."""
        return self.head.in_features

    def forward(self, faces: Tensor) -> Tensor | dict[str, Tensor]:
        """See the class."""
        if not self.training and not self.attached:
            return self.head(self.features(faces))
        expression, identity = self.split(faces)
        both = self.attached_head(torch.cat([expression, identity], dim=1))
        if not self.training:
            return both
        standard = [F.layer_norm(feature.float(), (self.width,)) for feature in (expression, identity)]
        return {
            "task": self.head(expression),
            "attached": both,
            "independence": self._bound(*standard),
            "invariance": expression,
            "attributes": self.keys(standard[1]),
        }

    def adapted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a checkpoint of the bare backbone under their names here; others are left as they are."""
        own = self.state_dict()
        return {f"backbone.{key}" if f"backbone.{key}" in own else key: value for key, value in state.items()}

    def _bound(self, expression: Tensor, identity: Tensor) -> Tensor:
        """CLUB of each pair and the estimator's own loss, (n, 2).

        The features learn from the bound, the estimator from its likelihood, and neither from the other's, in one step
        instead of two in turn.
        """
        frozen = {name: parameter.detach() for name, parameter in self.estimator.named_parameters()}
        bound = club(*torch.func.functional_call(self.estimator, frozen, (expression,)), identity)
        likelihood = gaussian_nll(*self.estimator(expression.detach()), identity.detach())
        return torch.stack([bound, likelihood], dim=1) / self.width


def _backbone_of(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A network with `features(faces)` and `width`, its last layer taken off. Raises ValueError for another name."""
    if name not in _BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown; expected one of {', '.join(_BACKBONES)}")
    network = _BACKBONES[name](**arguments)
    # No gradient would ever reach it.
    setattr(network, "fc" if hasattr(network, "fc") else "head", _Removed(network.width))
    return network


class _Removed(nn.Module):
    """Stands where a last layer was, and remembers what it took."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.in_features = in_features
