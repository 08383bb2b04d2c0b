"""Many trainings: teachers, then students; or from one plan, a few at a time, continued after a stop.

A plan is a TOML file of jobs. Each job is arguments of `fer-edge-lab`, and names the jobs it waits for:

    [[job]]
    name = "answers"
    command = ["answers", "models/faceres/faceres.safetensors", "--out", "answers/family.npz"]
    needs = ["faceres"]

A job that ended well leaves a file in FOLDER/done and is not run again; its output goes to FOLDER/logs. Every job
resumes by itself, so a campaign may be killed at any moment and started again.
"""

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.tables import Text, build, read_toml

from train.data.fer2013 import Fer2013
from train.fit import loop, publish, recipe
from train.fit.recipe import Recipe
from train.fit.workers import Workers

Name = Annotated[str, Text(100)]
_POLL_S = 1.0
_NICENESS = 5
_TERMINATED = 128 + signal.SIGTERM


class CampaignError(FerEdgeError):
    """Some jobs of a campaign failed; the others ran."""


@dataclass(frozen=True)
class Job:
    """Arguments of `fer-edge-lab`, and the names of the jobs that must end first."""

    name: Name
    command: tuple[Annotated[str, Text(4096)], ...]
    needs: tuple[Name, ...] = ()


@dataclass(frozen=True)
class _PlanFile:
    """A plan as its TOML file has it."""

    job: tuple[Job, ...] = ()


def load_plan(path: Path) -> tuple[Job, ...]:
    """The jobs of a plan, in its order. Raises UsageError."""
    jobs = build(_PlanFile, read_toml(path), str(path), UsageError).job
    if not jobs:
        raise UsageError(f"{path}: no [[job]], expected one or more.")
    for number, job in enumerate(jobs, start=1):
        if not job.name or Path(job.name).name != job.name or not job.command:
            raise UsageError(
                f"{path}, job {number}: expected a name fit for a file, and a command of one text or more."
            )
    _check_order(jobs, path)
    return jobs


def _check_order(jobs: Sequence[Job], path: Path) -> None:
    seen: set[str] = set()
    for job in jobs:
        unknown = [name for name in job.needs if name not in seen]
        if unknown:
            raise UsageError(f"{path}: job {job.name!r} needs {unknown[0]!r}, expected a job that stands before it.")
        if job.name in seen:
            raise UsageError(f"{path}: two jobs are named {job.name!r}, expected a name of its own for each.")
        seen.add(job.name)


def run(jobs: Sequence[Job], folder: Path, *, at_once: int) -> None:
    """Run every job that is not done, `at_once` at a time, each on its share of the cores, at a lower priority.

    A job whose needs failed is left out. Raises CampaignError at the end where any failed, UsageError where a campaign
    already runs in `folder`.
    """
    for name in ("done", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # So that the jobs are stopped as well: without a handler the signal would end this process alone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    with _only_campaign(folder):
        failed = _run_all(jobs, folder, at_once)
    if failed:
        raise CampaignError(f"failed: {', '.join(failed)}. See {folder / 'logs'}, mend, and start the campaign again.")


def _run_all(jobs: Sequence[Job], folder: Path, at_once: int) -> list[str]:
    """Names of the jobs that failed, or were left out because another did."""
    done = {job.name for job in jobs if (folder / "done" / job.name).exists()}
    waiting = [job for job in jobs if job.name not in done]
    failed: list[str] = []
    with ExitStack() as stack:
        running: dict[str, subprocess.Popen[bytes]] = {}
        while waiting or running:
            for job in [job for job in waiting if set(job.needs) & set(failed)]:
                waiting.remove(job)
                failed.append(job.name)
            for job in [job for job in waiting if set(job.needs) <= done][: at_once - len(running)]:
                waiting.remove(job)
                print(f"{job.name}: started", flush=True)
                running[job.name] = stack.enter_context(_started(job, folder, at_once))
            time.sleep(_POLL_S)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if running.pop(name).returncode == 0:
                    (folder / "done" / name).touch()
                    done.add(name)
                else:
                    failed.append(name)
                print(f"{name}: {'failed' if name in failed else 'done'}", flush=True)
    return failed


@contextmanager
def _started(job: Job, folder: Path, at_once: int) -> Iterator[subprocess.Popen[bytes]]:
    """The job as a process, stopped at the end where it still runs."""
    threads = str(max((os.cpu_count() or 1) // at_once, 1))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}  # what the user set holds
    start = ["nice", "-n", str(_NICENESS), sys.executable, "-m", "boards.lab", *job.command]
    with open(folder / "logs" / f"{job.name}.log", "ab") as log:
        process = subprocess.Popen(
            start, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _only_campaign(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"a campaign already runs in {folder}. Wait for it, or stop it first.") from None
        yield


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
