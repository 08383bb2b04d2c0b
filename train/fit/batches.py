"""The faces of Training with their targets, on the device that trains, and batches of them, some with noise."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Generator, Tensor, nn

from fer_edge.errors import DataError
from fer_edge.noise import add_noise

from train.data import pixels
from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.data.pixels import PIXEL_MEAN, PIXEL_SCALE, normalise
from train.fit.augment import augment_with_maps, mixed, mixup
from train.fit.distillation import answers, lesson, open_lessons
from train.fit.goals import Task
from train.fit.recipe import Noise, Recipe
from train.fit.tasks import TASK, Beside


class Batches:
    """Faces (n, 1, h, w), normalised, and by name the targets of the task, of the goals beside it, and of a lesson.

    Only faces of Training with a truth are there. `lessons` are the stored answers of teachers, None without;
    `teachers` answer for every face once, before training.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Faces,
        task: Task,
        beside: Mapping[str, Beside],
        teachers: Sequence[nn.Module],
        device: torch.device,
    ) -> None:
        self._augmentation, self._device = recipe.augmentation, device
        self.lessons = open_lessons(recipe.distillation, data, task.labels, device)
        self._noise = TrainingNoise(recipe.noise, recipe.schedule.epochs)
        targets = task.targets(data, recipe.labels)
        in_training = torch.from_numpy(data.usage == SPLITS.index("Training"))
        rows = in_training & ~targets.flatten(1).isnan().all(dim=1)
        if not rows.any():
            raise DataError(f"{data.dataset}: no faces of Training with a truth for {recipe.task}.")
        training = data.rows(rows.numpy())
        self.faces = pixels.normalise(torch.from_numpy(training.images)).unsqueeze(1).to(device)
        self.targets = {TASK: targets[rows]}
        if self.lessons is not None:
            self.lessons = self.lessons.of(rows[in_training])
        for name, one in beside.items():
            self.targets[name] = one.goal.targets(training, recipe.labels)
        if teachers:
            taught = torch.stack([answers(teacher, training.images) for teacher in teachers])
            self.targets["lesson"] = lesson(taught, recipe.distillation.temperature)
        self.targets = {name: table.to(device) for name, table in self.targets.items()}

    def __len__(self) -> int:
        """How many faces there are."""
        return len(self.faces)

    def draw(self, rows: Tensor, epoch: int, side: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Augmented faces (n, 1, side, side) of these rows, and the targets of each.

        Noise is as strong as `epoch` has it; all that is random comes of `generator`.
        """
        own = rows.to(self._device)
        targets = {name: table[own] for name, table in self.targets.items()}
        # A target that is a map over the face moves with it.
        maps = {name: table for name, table in targets.items() if table.ndim == 4}
        places = None
        if self.lessons is not None:
            places, targets["lesson"] = self.lessons.draw(own, generator)
        moved = augment_with_maps(self.faces[own], list(maps.values()), self._augmentation, generator, side, places)
        faces = self._noise(moved[0], epoch, generator)
        targets.update(zip(maps, moved[1], strict=True))
        if self._augmentation.mixup > 0:
            weight, partner = mixup(len(rows), self._augmentation.mixup, generator)
            faces = mixed(faces, weight, partner)
            targets = {name: mixed(table, weight, partner) for name, table in targets.items()}
        return faces, targets


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
