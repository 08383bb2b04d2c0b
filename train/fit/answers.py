"""Stored answers: what an ensemble of teachers says of several views of every face of Training.

A student that learns from them pays nothing for its teachers in a step, and sees the very views they saw: teacher and
student must agree on the picture (Beyer et al., 2022). A file holds a few hundred kB a view, so it can be kept beside
the models, and anyone can distil again without the teachers.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_edge.arrays import read_arrays
from fer_edge.errors import DataError, UsageError
from fer_edge.files import atomic_write
from fer_edge.tables import parse_json

from train.data import pixels
from train.fit import checkpoint
from train.fit.augment import sample
from train.fit.views import ViewSettings, view_places

_BATCH = 128
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Answers:
    """Logarithms of mean probabilities, (views, n, classes) float16, for the n faces whose pixels have `faces_sha256`.

    `teachers` names each teacher and the first digits of its checkpoint's SHA-256.
    """

    log_probabilities: NDArray[np.float16]
    labels: tuple[str, ...]
    teachers: tuple[str, ...]
    views: ViewSettings
    faces_sha256: str

    def places(self) -> Tensor:
        """Where each view looks at each face, (views, n, 2, 3) float32."""
        views, count = self.log_probabilities.shape[:2]
        return torch.stack([view_places(self.views, view, count) for view in range(views)])

    def lessons(self, temperature: float, consensus: float) -> Tensor:
        """Target probabilities (views, n, classes) float32, softened by `temperature`.

        `consensus` in [0, 1] is how far the answer for a view moves to the mean over all views of its face: what an
        ensemble says of many views is right more often than what it says of one.
        """
        probabilities = torch.from_numpy(self.log_probabilities.astype(np.float32)).softmax(dim=-1)
        agreed = torch.lerp(probabilities, probabilities.mean(dim=0, keepdim=True), consensus)
        return (agreed.clamp(min=_LEAST_PROBABILITY).log() / temperature).softmax(dim=-1)


@dataclass(frozen=True)
class Teacher:
    """A finished network that answers, and what it is called in a file of answers."""

    name: str
    network: nn.Module


def open_teachers(paths: Sequence[Path], device: torch.device) -> tuple[tuple[Teacher, ...], tuple[str, ...]]:
    """The networks of `paths` on `device`, and their labels. Raises ModelError; UsageError if those differ."""
    loaded = [checkpoint.load(path) for path in paths]
    for path, one in zip(paths, loaded, strict=True):
        if one.info.labels != loaded[0].info.labels:
            raise UsageError(f"{path}: answers {', '.join(one.info.labels)}, expected the labels of {paths[0]}.")
    teachers = tuple(
        Teacher(
            f"{one.info.name} {one.sha256[:12]}",
            one.network.to(device, memory_format=torch.channels_last).requires_grad_(False),
        )
        for one in loaded
    )
    return teachers, tuple(loaded[0].info.labels)


def digest(images: NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels of faces (n, h, w) in their order."""
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()


def write_answers(
    path: Path, teachers: Sequence[Path], images: NDArray[np.uint8], settings: ViewSettings, views: int, *, bf16: bool
) -> Iterator[Answers]:
    """Answer `views` views of faces (n, 48, 48) uint8 and keep them in `path`, which is whole after every view.

    Yields what is known after each. A file of the same teachers, faces and settings is continued, any other refused.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    networks, labels = open_teachers(teachers, device)
    empty = np.empty((0, len(images), len(labels)), np.float16)
    known = Answers(empty, labels, tuple(one.name for one in networks), settings, digest(images))
    if path.is_file():
        known = _continued(read_answers(path), known, path)
    faces = pixels.normalise(torch.from_numpy(images)).unsqueeze(1).to(device)
    for view in range(len(known.log_probabilities), views):
        answered = _answer(networks, faces, view_places(settings, view, len(images)).to(device), bf16=bf16)
        known = replace(known, log_probabilities=np.concatenate([known.log_probabilities, answered[None]]))
        _write(path, known)
        yield known


def _continued(found: Answers, expected: Answers, path: Path) -> Answers:
    """Read the views a file holds. Raises UsageError where it was begun with other teachers, faces or settings."""
    for name in ("labels", "teachers", "views", "faces_sha256"):
        if getattr(found, name) != getattr(expected, name):
            raise UsageError(
                f"{path}: its {name} are {getattr(found, name)}, expected {getattr(expected, name)}. Name another "
                "--out, or remove the file."
            )
    return found


@torch.inference_mode()
def _answer(teachers: Sequence[Teacher], faces: Tensor, places: Tensor, *, bf16: bool) -> NDArray[np.float16]:
    """Logarithms of the teachers' mean probabilities for one view of `faces`, (n, classes)."""
    parts = []
    for start in range(0, len(faces), _BATCH):
        rows = slice(start, start + _BATCH)
        seen = sample(faces[rows], places[rows]).contiguous(memory_format=torch.channels_last)
        with torch.autocast(faces.device.type, torch.bfloat16, enabled=bf16):
            logits = torch.stack([teacher.network(seen).float() for teacher in teachers])
        parts.append(F.softmax(logits, dim=-1).mean(dim=0).clamp(min=_LEAST_PROBABILITY).log())
    return torch.cat(parts).cpu().numpy().astype(np.float16)


def _write(path: Path, answers: Answers) -> None:
    head = {key: value for key, value in asdict(answers).items() if key != "log_probabilities"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, log_probabilities=answers.log_probabilities, head=np.array(json.dumps(head)))


def read_answers(path: Path) -> Answers:
    """Read a file of answers. Raises DataError where it is absent, or none."""
    if not path.is_file():
        raise DataError(f"stored answers not found: {path}. Make them with `fer-edge-lab answers`.")
    remedy = "Make it again."
    arrays = read_arrays(path, DataError, what="a file of stored answers", remedy=remedy)
    try:
        head, table = parse_json(str(arrays["head"]), str(path), DataError), arrays["log_probabilities"]
        views = ViewSettings(**head.pop("views"))
        labels, teachers = tuple(head.pop("labels")), tuple(head.pop("teachers"))
        return Answers(table, labels, teachers, views, **head)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a file of stored answers ({error}). {remedy}") from None
