"""The folder of a run: its lock, its log, and the state that a restart resumes from.

A state is resumed by the recipe and the data that it was made from alone.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_edge.csv_tables import write_cells
from fer_edge.errors import UsageError
from fer_edge.files import atomic_write, sha256_of

from train.data.annotated import Faces
from train.fit.recipe import Recipe, from_table


@dataclass(frozen=True)
class EpochLog:
    """One row of log.csv. `val_loss` and `figures` are the averaged weights on PublicTest, single crop.

    The first of `figures` (`train.fit.tasks`) is what a task is judged by: accuracy for classes, in [0, 1].
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    figures: dict[str, float]
    seconds: float

    @property
    def score(self) -> float:
        """The figure a task is judged by."""
        return next(iter(self.figures.values()))

    def row(self) -> dict[str, float]:
        """Flat, as log.csv and a run's state hold it: every figure under its name after `val_`."""
        values = dataclasses.asdict(self)
        figures = {f"val_{name}": value for name, value in values.pop("figures").items()}
        seconds = values.pop("seconds")
        return {**values, **figures, "seconds": seconds}

    @staticmethod
    def of_row(row: dict[str, float]) -> "EpochLog":
        """The opposite of `row`."""
        plain = {key: row[key] for key in ("learning_rate", "train_loss", "val_loss", "seconds")}
        figures = {key.removeprefix("val_"): row[key] for key in row if key.startswith("val_") and key != "val_loss"}
        return EpochLog(epoch=int(row["epoch"]), figures=figures, **plain)


def write_log(path: Path, logs: Sequence[EpochLog]) -> None:
    """Write the run's log as CSV, one row an epoch."""
    columns = list(logs[0].row())
    write_cells(path, columns, (entry.row() for entry in logs), dict.fromkeys(columns, 6))


@dataclass(frozen=True)
class Origin:
    """The recipe of a run, and the SHA-256 over the data and the files that its recipe names."""

    recipe: Recipe
    digest: str


def origin_of(recipe: Recipe, data: Faces) -> Origin:
    """Digest the arrays of `data`, and the files of the recipe that are there: another face gives another."""
    total = hashlib.sha256(data.dataset.encode())
    for name, value in _arrays(vars(data)):
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(np.ascontiguousarray(value).view(np.uint8).data)
    named = (*recipe.distillation.teachers, recipe.distillation.answers, recipe.finetuning.weights)
    named += (recipe.labels.saliency_teacher, recipe.labels.attributes)
    for path in (Path(name) for name in named if name):
        if path.is_file():
            total.update(sha256_of(path).encode())
    return Origin(recipe, total.hexdigest())


def _arrays(values: Any) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in sorted(values.items()):
        if isinstance(value, np.ndarray):
            yield name, value
        elif isinstance(value, dict):
            yield from _arrays(value)


def save_state(run: Path, origin: Origin, logs: Sequence[EpochLog], state: Mapping[str, Any]) -> None:
    """Write state.pt, atomically, and log.csv. `state` holds tensors, numbers and their collections."""
    kept = {"recipe": _as_json(origin.recipe), "origin": origin.digest, **state, "logs": [log.row() for log in logs]}
    with atomic_write(run / "state.pt") as temporary:
        torch.save(kept, temporary)
    write_log(run / "log.csv", logs)


def load_state(run: Path, origin: Origin, device: torch.device) -> tuple[dict[str, Any], list[EpochLog]] | None:
    """Read state.pt and its logs; None where there is none. Raises UsageError for another recipe or other data."""
    path = run / "state.pt"
    if not path.is_file():
        return None
    state = torch.load(path, weights_only=True, map_location=device)
    if _completed(state["recipe"], path) != _as_json(origin.recipe):
        raise UsageError(f"{path} was made by another recipe. Remove {run} to start again, or restore the recipe.")
    if state.get("origin", origin.digest) != origin.digest:
        raise UsageError(
            f"{path} was made from other data, or the files its recipe names have changed since. Remove {run} "
            "to start again, or restore them."
        )
    return state, [EpochLog.of_row(entry) for entry in state["logs"]]


def _as_json(recipe: Recipe) -> str:
    """The whole recipe as one line, to compare runs by."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _completed(stored: str, path: Path) -> str:
    """The recipe a run was begun with, as `_as_json`, options that came later at what they were until then."""
    try:
        return _as_json(from_table(json.loads(stored), str(path)))
    except UsageError:
        return stored  # it has an option this program does not know


@contextmanager
def single_run(run: Path) -> Iterator[None]:
    """Hold the run folder's lock, and clear what a killed run left half-written there.

    The kernel releases the lock even after SIGKILL. Raises UsageError when it is taken.
    """
    with open(run / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"a training run already works in {run}. Wait for it, or stop it first.") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        for unfinished in run.glob(".*.part"):
            unfinished.unlink()
        yield
