"""What moves the weights: SGD for all of them, or Muon for the convolutions and SGD for the rest."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from train.recipe import Schedule


def make_optimizers(network: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Optimizers that between them hold every parameter once; each group's `peak` is its highest learning rate.

    Weight decay is on weights alone: BatchNorm and biases are left free. With Muon, `network` must be channels_last.
    """
    weights = list(network.parameters())
    by_muon = [w for w in weights if w.ndim == 4] if schedule.muon_learning_rate > 0 else []
    ids = {id(w) for w in by_muon}
    rest = [w for w in weights if id(w) not in ids]
    groups = [
        {"params": [w for w in rest if w.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [w for w in rest if w.ndim <= 1]},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)]
    if by_muon:
        optimizers.append(ConvMuon(by_muon, weight_decay=schedule.muon_weight_decay))
    for optimizer, peak in zip(optimizers, (schedule.learning_rate, schedule.muon_learning_rate), strict=False):
        for group in optimizer.param_groups:
            group["peak"] = peak
    return optimizers


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
