"""The faces of Training with their targets, on the device that trains, and the batches drawn from them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor, nn

from fer_edge.errors import DataError

from train.data import pixels
from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit.augment import augment_with_maps, mixed, mixup
from train.fit.distillation import answers, lesson, open_lessons
from train.fit.goals import Task
from train.fit.recipe import Recipe
from train.fit.tasks import TASK, Beside
from train.fit.training_noise import TrainingNoise


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
