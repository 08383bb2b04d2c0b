"""Large teachers first, then the deployable students they teach: what the family needs of a GPU, in one command.

`fer-edge-lab family`, or `torchrun --nproc-per-node N -m boards.lab family`; every run resumes where it was stopped.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError

from train.data.fer2013 import Fer2013
from train.fit import loop, publish, recipe
from train.fit.recipe import Recipe
from train.fit.workers import Workers


@dataclass(frozen=True)
class Places:
    """Where run folders and the teachers' weights are kept, and where the students land."""

    runs: Path
    models: Path


def require_same_task(teacher: Recipe, students: Sequence[Recipe]) -> None:
    """Raise UsageError for a student of another task, before hours go into its teachers."""
    for student in students:
        if student.task != teacher.task:
            raise UsageError(
                f"{student.name} learns {student.task}, and {teacher.name} can teach {teacher.task} alone."
            )


def train_teachers(teacher: Recipe, count: int, data: Fer2013, places: Places, workers: Workers) -> tuple[Path, ...]:
    """Train `count` teachers that differ by their seed; their checkpoints, under runs/teachers/."""
    shelf = places.runs / "teachers"
    return tuple(_train(recipe.seeded(teacher, seed), data, places.runs, shelf, workers) for seed in range(count))


def train_student(student: Recipe, teachers: tuple[Path, ...], data: Fer2013, places: Places, workers: Workers) -> Path:
    """Train one student with these teachers in place of its recipe's; they see every augmented face it sees."""
    lessons = dataclasses.replace(student.distillation, teachers=tuple(map(str, teachers)), live=True)
    taught = dataclasses.replace(student, distillation=lessons)
    return _train(taught, data, places.runs, places.models, workers)


def _train(chosen: Recipe, data: Fer2013, runs: Path, models: Path, workers: Workers) -> Path:
    run = runs / chosen.name
    loop.fit(chosen, data, run, workers)
    if workers.leads:
        publish.publish(chosen, data, run, models)
    workers.wait()
    return publish.checkpoint_path(models, chosen.name)
