"""Optimizers: SGD for all weights, or Muon for the convolutions and SGD for the rest; the learning-rate schedule."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from train.fit import finetuning
from train.fit.recipe import Finetuning, Schedule

_WHOLE = Finetuning()


def make_optimizers(
    network: nn.Module, schedule: Schedule, settings: Finetuning = _WHOLE
) -> list[torch.optim.Optimizer]:
    """Optimizers that between them hold every parameter once; each group's `peak` is its highest learning rate.

    Weight decay is on weights alone: normalisation and biases are left free. With Muon, `network` must be
    channels_last. A part that is fine-tuned at a rate of its own (`train.fit.finetuning`) has its own groups.
    """
    groups, by_muon = [], []
    for part in finetuning.parts(network, settings):
        muon = [w for w in part.parameters if w.ndim == 4] if schedule.muon_learning_rate > 0 else []
        ids = {id(w) for w in muon}
        rest = [w for w in part.parameters if id(w) not in ids]
        peak = part.rate * schedule.learning_rate
        groups.append({"params": [w for w in rest if w.ndim > 1], "weight_decay": schedule.weight_decay, "peak": peak})
        groups.append({"params": [w for w in rest if w.ndim <= 1], "peak": peak})
        if muon:
            by_muon.append(ConvMuon(muon, weight_decay=schedule.muon_weight_decay))
            by_muon[-1].param_groups[0]["peak"] = part.rate * schedule.muon_learning_rate
    return [torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True), *by_muon]


def learning_rate_factor(schedule: Schedule, epoch: float) -> float:
    """Factor on the highest learning rate: linear warm-up, then half a cosine to zero; `epoch` may be fractional."""
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    progress = (epoch - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@contextmanager
def uphill(network: nn.Module, radius: float) -> Iterator[None]:
    """Inside, the weights stand `radius` further along their gradient; after it, where they were, to the last bit.

    Normalisation keeps its statistics, which belong to the weights themselves.
    """
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    kept = [weight.detach().clone() for weight in weights]
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        gradients = [weight.grad for weight in weights]
        length = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_add_(weights, torch._foreach_mul(gradients, radius / (length + 1e-12)))
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, kept)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class ConvMuon(torch.optim.Muon):
    """Muon (Jordan et al., 2024) for convolutions: a weight (out, in, h, w) moves as the matrix (out, h * w * in).

    torch's Muon takes matrices alone, so it is given views into the weights' own memory.
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, weight_decay: float) -> None:
        self._weights = list(weights)
        matrices = [nn.Parameter(_matrix(weight.detach())) for weight in self._weights]
        for weight, matrix in zip(self._weights, matrices, strict=True):
            if weight.data_ptr() != matrix.data_ptr():
                raise ValueError(f"a weight of shape {tuple(weight.shape)} is not channels_last; expected one that is")
        self._matrices = matrices
        super().__init__(matrices, lr=0.0, weight_decay=weight_decay)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of the weights."""
        super().zero_grad(set_to_none)
        for weight in self._weights:
            weight.grad = None

    def step(self, closure: None = None) -> None:
        """Move every weight that has a gradient."""
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        super().step(closure)


def _matrix(weight: Tensor) -> Tensor:
    """(out, in, h, w) as (out, h * w * in): a view where `weight` is channels_last, else a copy."""
    return weight.permute(0, 2, 3, 1).flatten(1)
