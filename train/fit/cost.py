"""Cost of a network: parameters, and multiplications for one face."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer_edge.csv_tables import write_cells

from train.data.fer2013 import SIDE_PX
from train.fit import checkpoint


@dataclass(frozen=True)
class Cost:
    """Numbers learned that an answer depends on, and multiply-accumulates of convolutions and products for one face.

    What a network learns with and no answer needs, such as the head of another goal, is not in either.
    """

    parameters: int
    macs: int

    @property
    def mmac(self) -> float:
        """Millions of multiply-accumulates."""
        return self.macs / 1e6


def cost_of(network: nn.Module) -> Cost:
    """Measure `network`, left in eval mode, by sending one grey 48x48 face through it."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
        answer = network.eval()(torch.zeros(1, 1, SIDE_PX, SIDE_PX))
    reached = torch.autograd.grad(answer.sum(), learned, allow_unused=True)
    parameters = sum(p.numel() for p, gradient in zip(learned, reached, strict=True) if gradient is not None)
    return Cost(parameters, counter.get_total_flops() // 2)


def write_costs(path: Path, models: Sequence[Path]) -> None:
    """One line a checkpoint: model, parameters, mmac. Raises ModelError for a file that is none."""
    rows = []
    for one in [checkpoint.load(model) for model in models]:
        cost = cost_of(one.network)
        rows.append({"model": one.info.name, "parameters": cost.parameters, "mmac": cost.mmac})
    write_cells(path, ("model", "parameters", "mmac"), rows, {"mmac": 1})
