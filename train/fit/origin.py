"""Digest of everything a run learns from: the data, and every file its recipe names."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.files import sha256_of

from train.data.annotated import Faces
from train.fit.recipe import Recipe


def digest(recipe: Recipe, data: Faces) -> str:
    """SHA-256 over the arrays of `data` and the files of the recipe that are there: another face gives another."""
    total = hashlib.sha256(data.dataset.encode())
    for name, value in _arrays(vars(data)):
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(np.ascontiguousarray(value).view(np.uint8).data)
    named = (*recipe.distillation.teachers, recipe.distillation.answers, recipe.finetuning.weights)
    named += (recipe.labels.saliency_teacher, recipe.labels.attributes)
    for path in (Path(name) for name in named if name):
        if path.is_file():
            total.update(sha256_of(path).encode())
    return total.hexdigest()


def _arrays(values: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in sorted(values.items()):
        if isinstance(value, np.ndarray):
            yield name, value
        elif isinstance(value, dict):
            yield from _arrays(value)
