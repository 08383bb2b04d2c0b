"""The question quantize asks of whoever can run a model on an Arm core."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class InstructionCounter(Protocol):
    """Counts the instructions of one inference; `boards` has one that asks an emulator."""

    def __call__(self, models: Sequence[Path], cpu: str) -> dict[Path, int]:
        """The counts on `cpu`, such as "cortex-a76", of one face on one thread; what cannot be counted is left out."""
        ...
