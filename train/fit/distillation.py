"""Learning from teachers (Hinton et al., 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from fer_edge.errors import ModelError, UsageError

from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit import checkpoint
from train.fit.answers import digest, read_answers
from train.fit.prediction import predict
from train.fit.recipe import Distillation


def load_teacher(path: Path, labels: Sequence[str]) -> nn.Module:
    """A finished network that only answers: frozen, in eval mode. Raises ModelError, also where it has other labels."""
    teacher = checkpoint.load(path)
    if tuple(teacher.info.labels) != tuple(labels):
        raise ModelError(f"{path}: teaches {', '.join(teacher.info.labels)}; expected {', '.join(labels)}.")
    return teacher.network.to(memory_format=torch.channels_last).requires_grad_(False)


def answers(teacher: nn.Module, images: np.ndarray) -> Tensor:
    """A teacher's logits, (n, classes) float32, averaged over each raw grey face and its mirror image."""
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    return torch.from_numpy((predict(teacher, images) + predict(teacher, mirrored)) / 2)


def lesson(taught: Tensor, temperature: float) -> Tensor:
    """Mean probabilities (n, classes) of the teachers' logits, (t, n, classes), softened by `temperature`."""
    return F.softmax(taught / temperature, dim=-1).mean(dim=0)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the student, logits (n, classes), to a lesson (n, classes) softened by the same `temperature`.

    Times its square, so that the gradient keeps its size (Hinton et al., 2015, section 2).
    """
    return F.cross_entropy(logits / temperature, targets) * temperature**2


@dataclass(frozen=True)
class StoredLessons:
    """Predictions of teachers for views of faces: `places` (views, n, 2, 3), and `targets` (views, n, classes)."""

    places: Tensor
    targets: Tensor

    def of(self, chosen: Tensor) -> "StoredLessons":
        """The lessons of some of the faces, a mask (n,)."""
        chosen = chosen.to(self.places.device)
        return replace(self, places=self.places[:, chosen], targets=self.targets[:, chosen])

    def draw(self, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """A view of each face of `rows` (n,), at random: where it looks, (n, 2, 3), and its targets, (n, classes)."""
        view = torch.randint(len(self.places), (len(rows),), generator=generator).to(rows.device)
        return self.places[view, rows], self.targets[view, rows]


def open_lessons(
    settings: Distillation, data: Faces, labels: Sequence[str], device: torch.device
) -> StoredLessons | None:
    """The stored answers a recipe names, for the faces of Training in `data`; None where it names none.

    Raises DataError for a file that is none, and UsageError where it was made for other faces or labels.
    """
    if not settings.answers:
        return None
    stored = read_answers(Path(settings.answers))
    if stored.labels != tuple(labels):
        raise UsageError(f"{settings.answers}: answers {', '.join(stored.labels)}; expected {', '.join(labels)}.")
    if stored.faces_sha256 != digest(data.images[data.usage == SPLITS.index("Training")]):
        raise UsageError(
            f"{settings.answers}: made for other faces than the Training split of {data.dataset}. Make it again with "
            "`fer-edge-lab answers`."
        )
    targets = stored.lessons(settings.temperature, settings.consensus)
    return StoredLessons(stored.places().to(device), targets.to(device))
