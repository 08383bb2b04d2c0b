"""Saliency: where people look in a picture. Indicators, the task, and what stands in for eyes that were not tracked.

Wei (2021) predicts saliency with several indicators together and uses it as a prior for recognising expressions. The
indicators are those of the field (Bylinskii et al., 2019); how they are weighed is this project's choice, and so is the
stand-in: faces of FER2013 come without gaze, so there a finished network's evidence, the gradient of its answer
(Simonyan et al., 2014), tells where to look. CAT2000 brings the gaze of people.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_edge.errors import UsageError

from train.data import pixels
from train.data.annotated import MAP_SIDE, Faces
from train.fit import checkpoint
from train.fit.recipe import Labels

# NSS is the largest of the three by its nature: this share of it counts.
_NSS_SHARE = 0.2
INDICATORS = ("kl", "cc", "nss")
# The strongest evidence of a face counts as looked at.
_FIXATED_SHARE = 0.05


def kl_divergence(prediction: Tensor, density: Tensor) -> Tensor:
    """KL divergence of each predicted density from the true one, (n, pixels) with sum 1 each -> (n,), in nats."""
    return (density * ((density + 1e-9).log() - (prediction + 1e-9).log())).sum(dim=1)


def correlation(prediction: Tensor, density: Tensor) -> Tensor:
    """CC: Pearson's correlation of two maps (n, pixels) -> (n,)."""
    first = prediction - prediction.mean(dim=1, keepdim=True)
    second = density - density.mean(dim=1, keepdim=True)
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1) + 1e-9)


def normalised_scanpath_saliency(prediction: Tensor, fixations: Tensor) -> Tensor:
    """NSS: mean of the standardised prediction over fixated pixels, (n, pixels) and counts (n, pixels) -> (n,)."""
    mean, deviation = prediction.mean(dim=1, keepdim=True), prediction.std(dim=1, correction=0, keepdim=True)
    standard = (prediction - mean) / (deviation + 1e-9)
    return (standard * fixations).sum(dim=1) / (fixations.sum(dim=1) + 1e-9)


def similarity(prediction: Tensor, density: Tensor) -> Tensor:
    """SIM: what two densities (n, pixels) have in common, (n,) in [0, 1]."""
    return torch.minimum(prediction, density).sum(dim=1)


def as_density(maps: Tensor) -> Tensor:
    """Maps of any shape (n, ...), 0 or more, as (n, pixels) with sum 1."""
    flat = maps.flatten(1).clamp_min(0)
    return flat / (flat.sum(dim=1, keepdim=True) + 1e-9)


@dataclass(frozen=True)
class SaliencyTask:
    """Predict where people look. Outputs: scores of the pixels of a square map, (n, pixels), before softmax.

    Targets: (n, 2, MAP_SIDE, MAP_SIDE), a density and the fixations it was made of. `indicators` are the parts of the
    loss, of INDICATORS.
    """

    name: str = "saliency"
    labels: tuple[str, ...] = ()
    indicators: tuple[str, ...] = INDICATORS

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """The dataset's maps, or the evidence of the recipe's teacher."""
        if data.dataset != "FER2013":
            return torch.from_numpy(self.truth(data))
        if not labels.saliency_teacher:
            raise UsageError("FER2013 has no gaze: name a checkpoint as labels.saliency_teacher, whose evidence it is.")
        teacher = checkpoint.load(Path(labels.saliency_teacher)).network
        return torch.from_numpy(evidence(teacher, data.images))

    def truth(self, data: Faces) -> NDArray[Any]:
        """The dataset's maps, (n, 2, MAP_SIDE, MAP_SIDE) float32."""
        return data.truth(self.name).astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the indicators, each the less the better, over the faces that have a map."""
        counts = ~targets.flatten(1).isnan().any(dim=1)
        if not counts.any():
            return outputs.sum() * 0
        prediction, density, fixations = _prepared(outputs[counts], targets[counts])
        parts = {
            "kl": lambda: kl_divergence(prediction, density),
            "cc": lambda: 1 - correlation(prediction, density),
            "nss": lambda: -_NSS_SHARE * normalised_scanpath_saliency(prediction, fixations),
        }
        return torch.stack([parts[name]().mean() for name in self.indicators]).sum()

    def figures(self, outputs: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
        """The loss, CC, which selects, KL, NSS and SIM."""
        scores, maps = torch.from_numpy(outputs), torch.from_numpy(truth)
        prediction, density, fixations = _prepared(scores, maps)
        return {
            "loss": self.loss(scores, maps).item(),
            "cc": correlation(prediction, density).mean().item(),
            "kl": kl_divergence(prediction, density).mean().item(),
            "nss": normalised_scanpath_saliency(prediction, fixations).mean().item(),
            "sim": similarity(prediction, density).mean().item(),
        }


def _prepared(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted density, true density and fixations, (n, pixels) each, at the size of the outputs."""
    scores = outputs.flatten(1)
    side = round(scores.shape[1] ** 0.5)
    pooled = F.adaptive_avg_pool2d(targets, side)
    return scores.softmax(dim=1), as_density(pooled[:, 0]), pooled[:, 1].flatten(1).clamp_min(0)


def evidence(network: nn.Module, images: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
    """Maps (n, 2, MAP_SIDE, MAP_SIDE) float32 of grey faces (n, 48, 48) uint8: where `network` looks.

    The size of the gradient of its strongest answer, smoothed, and its strongest pixels as if they had been fixated.
    """
    network = network.eval().requires_grad_(False)
    parts = [_evidence(network, images[start : start + batch]) for start in range(0, len(images), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, 2, MAP_SIDE, MAP_SIDE), dtype=np.float32)


def _evidence(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    faces = pixels.normalise(torch.from_numpy(images)).unsqueeze(1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(faces).max(dim=1).values.sum(), faces)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 2.0) for one in gradient[:, 0].abs().numpy()])
    return as_maps(F.adaptive_avg_pool2d(torch.from_numpy(smooth).unsqueeze(1), MAP_SIDE)[:, 0].numpy())


def as_maps(density: NDArray[np.floating]) -> NDArray[np.float32]:
    """Densities (n, side, side) with their strongest pixels as fixations, (n, 2, side, side) float32."""
    flat = density.reshape(len(density), -1)
    threshold = np.quantile(flat, 1 - _FIXATED_SHARE, axis=1, keepdims=True)
    fixations = (flat >= threshold).astype(np.float32)
    total = np.maximum(flat.sum(axis=1, keepdims=True), 1e-9)
    maps = np.stack([flat / total, fixations], axis=1)
    return maps.reshape(len(density), 2, *density.shape[1:]).astype(np.float32)
