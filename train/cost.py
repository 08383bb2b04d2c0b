"""What a network costs: parameters, and multiplications for one face."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.fer2013 import SIDE_PX


@dataclass(frozen=True)
class Cost:
    """Trainable numbers, and multiply-accumulates of the convolutions and linear layers for one 48x48 face."""

    parameters: int
    macs: int

    @property
    def mmac(self) -> float:
        """Millions of multiply-accumulates."""
        return self.macs / 1e6


def cost_of(network: nn.Module) -> Cost:
    """Measure `network`, left in eval mode, by sending one grey face through it. Other layers cost next to nothing."""
    macs = 0

    def count(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        # Every output value of a convolution or linear layer is one dot product with a row of its weights.
        macs += output[0].numel() * module.weight[0].numel()

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 1, SIDE_PX, SIDE_PX))
    for hook in hooks:
        hook.remove()
    return Cost(sum(p.numel() for p in network.parameters() if p.requires_grad), macs)
