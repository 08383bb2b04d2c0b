"""Learning from teachers (Hinton et al., 2015)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_edge.errors import ModelError

from train import checkpoint
from train.prediction import predict


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
