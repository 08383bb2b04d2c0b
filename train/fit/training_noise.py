"""Noise while training: a share of every batch gets a kind and a step of the ladder, drawn again each time."""

import numpy as np
import torch
from torch import Generator, Tensor

from fer_edge.noise import add_noise

from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE, normalise
from train.fit.recipe import Noise


class TrainingNoise:
    """Adds a recipe's noise to normalised faces (n, 1, h, w).

    Oh and Kim (2024) train to stay accurate under noise; mixing every step from the start and the curriculum, which
    begins with the weakest, are this project's two ways to do it.
    """

    def __init__(self, settings: Noise, epochs: int) -> None:
        self.settings, self._epochs = settings, epochs

    def hardest(self, epoch: int) -> int:
        """The greatest step that is added in `epoch`, counted from 0."""
        if self.settings.schedule == "mixed":
            return self.settings.steps
        return min(1 + epoch * self.settings.steps // self._epochs, self.settings.steps)

    def __call__(self, faces: Tensor, epoch: int, generator: Generator) -> Tensor:
        """The faces, some of them noisy."""
        if self.settings.share == 0:
            return faces
        n, kinds = len(faces), self.settings.kinds
        chosen = (torch.rand(n, generator=generator) < self.settings.share).numpy()
        kind = torch.randint(len(kinds), (n,), generator=generator).numpy()
        step = torch.randint(1, self.hardest(epoch) + 1, (n,), generator=generator).numpy()
        seed = int(torch.randint(1, 2**31, (1,), generator=generator))
        # JPEG and the generator of the ladder are the CPU's: only the faces that get noise go there and back.
        where = torch.from_numpy(np.flatnonzero(chosen)).to(faces.device)
        pixels = (faces[where, 0] / PIXEL_SCALE + PIXEL_MEAN).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        kind, step = kind[chosen], step[chosen]
        for k, s in {(int(k), int(s)) for k, s in zip(kind, step, strict=True)}:
            rows = (kind == k) & (step == s)
            pixels[rows] = add_noise(np.ascontiguousarray(pixels[rows]), kinds[k], s, seed)
        noisy = normalise(torch.from_numpy(pixels)).unsqueeze(1).to(faces.device)
        return faces.index_copy(0, where, noisy)
