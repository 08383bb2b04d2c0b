"""The processes of one training run: one on its own, or several started by torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Workers:
    """This process's place among `count`, and the device it computes on."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that logs and writes."""
        return self.rank == 0

    def parallel(self, network: nn.Module, *, some_frozen: bool = False) -> nn.Module:
        """`network`, with gradients averaged over the processes where there are several.

        `some_frozen` says that at times a parameter takes no part, whose gradient nobody must wait for.
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(network, find_unused_parameters=some_frozen)

    def any(self, condition: bool) -> bool:
        """Whether `condition` holds in any of the processes; all get the same answer."""
        if self.count == 1:
            return condition
        held = torch.tensor(float(condition), device=self.device)
        distributed.all_reduce(held, distributed.ReduceOp.MAX)
        return bool(held)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Workers(0, 1, torch.device("cpu"))


@contextmanager
def joined() -> Iterator[Workers]:
    """This process among those torchrun started (its environment says which), or alone.

    A GPU is used where torch sees one: each process takes the one of its LOCAL_RANK.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(0, 1, device)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Workers(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()
