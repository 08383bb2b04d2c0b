"""The training loop: one recipe, one run folder, resumable after a kill with the result of an unbroken run."""

import dataclasses
import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fer_edge.csv_tables import write_cells
from fer_edge.errors import DataError, FerEdgeError, UsageError
from fer_edge.files import atomic_write

from train import architectures
from train.data import pixels
from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit import finetuning, origin, tasks
from train.fit.augment import augment_with_maps, mixed, mixup
from train.fit.distillation import answers, distillation_loss, lesson, load_teacher, open_lessons
from train.fit.goals import known, logit_offsets
from train.fit.optimizer import make_optimizers, uphill
from train.fit.prediction import predict
from train.fit.recipe import Recipe, Schedule, from_table
from train.fit.tasks import TASK, task_of
from train.fit.training_noise import TrainingNoise
from train.fit.workers import ALONE, Workers

# Keeps the random numbers of different workers, and of order and augmentation, apart.
_SEED_STRIDE = 1_000_003


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


def rate_share(schedule: Schedule, epoch: float) -> float:
    """Share of the highest learning rate: linear warm-up, then half a cosine to zero; `epoch` may be fractional."""
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    progress = (epoch - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class UnfinishedError(FerEdgeError):
    """A run stopped at an epoch's end because its time was over."""


class Trainer:
    """Holds what changes during a run: live weights, averaged weights, optimizer, epochs done."""

    def __init__(
        self, recipe: Recipe, data: Faces, run: Path, workers: Workers = ALONE, *, compiled: bool = False
    ) -> None:
        self.recipe, self.run, self.workers = recipe, run, workers
        self.task, self.beside = task_of(recipe), tasks.beside(recipe)
        torch.manual_seed(recipe.schedule.seed)
        self.network = architectures.build(recipe.architecture, recipe.arguments)
        self.taken = finetuning.start_from(self.network, recipe.finetuning)
        self.origin = origin.digest(recipe, data)
        self.network = self.network.to(workers.device, memory_format=torch.channels_last)
        parallel = workers.parallel(self.network, some_frozen=recipe.finetuning.head_epochs > 0)
        self.parallel = torch.compile(parallel) if compiled else parallel
        named = (load_teacher(Path(name), self.task.labels) for name in recipe.distillation.teachers)
        teachers = [teacher.to(workers.device) for teacher in named]
        self.teachers = teachers if recipe.distillation.live else []
        self.lessons = open_lessons(recipe.distillation, data, self.task.labels, workers.device)
        self.steps_done = 0
        self.average = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.optimizers = make_optimizers(self.network, recipe.schedule, recipe.finetuning)
        self.noise = TrainingNoise(recipe.noise, recipe.schedule.epochs)
        self.logs: list[EpochLog] = []
        targets = self.task.targets(data, recipe.labels)
        rows = torch.from_numpy(data.usage == SPLITS.index("Training")) & ~targets.flatten(1).isnan().all(dim=1)
        training = data.rows(rows.numpy())
        images = training.images
        self.faces = pixels.normalise(torch.from_numpy(images)).unsqueeze(1).to(workers.device)
        self.targets = {TASK: targets[rows]}
        if self.lessons is not None:
            self.lessons = self.lessons.of(rows[torch.from_numpy(data.usage == SPLITS.index("Training"))])
        for name, beside in self.beside.items():
            self.targets[name] = beside.goal.targets(training, recipe.labels)
        if teachers and not recipe.distillation.live:
            taught = torch.stack([answers(teacher, images) for teacher in teachers])
            self.targets["lesson"] = lesson(taught, recipe.distillation.temperature)
        self.targets = {name: table.to(workers.device) for name, table in self.targets.items()}
        balance = recipe.labels.balance
        self.offsets = logit_offsets(self.targets[TASK], balance) if balance else None
        truth = self.task.truth(data)
        validation = (data.usage == SPLITS.index("PublicTest")) & known(truth)
        if not rows.any() or not validation.any():
            raise DataError(f"{data.dataset}: no faces of Training or PublicTest with a truth for {recipe.task}.")
        self.val_images, self.val_truth = data.images[validation], truth[validation]
        self._require_outputs()

    @torch.no_grad()
    def _require_outputs(self) -> None:
        """Raise UsageError where the network does not answer all the recipe asks of it, in the number it asks for."""
        name = self.recipe.name
        # In training mode a network answers everything, but its statistics and the random numbers must stay theirs.
        with torch.random.fork_rng([]):
            copy = deepcopy(self.network).train()
            faces = self.faces[:2].contiguous(memory_format=torch.channels_last)
            for side in sorted(set(self.recipe.schedule.sizes)):
                try:
                    outputs = copy(nn.functional.interpolate(faces, (side, side)))
                except RuntimeError as error:
                    reason = str(error).splitlines()[0]
                    raise UsageError(f"{name}: its network cannot take faces of {side} pixels ({reason}).") from None
        outputs = {TASK: outputs} if isinstance(outputs, Tensor) else outputs
        absent = [targets for targets in self.beside if targets not in outputs]
        if absent:
            has = ", ".join(sorted(set(outputs) - {TASK})) or "nothing"
            raise UsageError(f"{name}: its network answers {has} beside its task, not {absent[0]!r} of [beside].")
        count = len(self.task.labels)
        if count and outputs[TASK].shape[1:] != (count,):
            found = outputs[TASK].shape[1]
            raise UsageError(f"{name}: {found} outputs for {self.recipe.task}, expected classes = {count}.")

    def train_epoch(self) -> EpochLog:
        """One pass over Training, shared among the workers, then PublicTest with the averaged weights."""
        started, epoch, schedule = time.perf_counter(), len(self.logs), self.recipe.schedule
        # Everything random in an epoch follows from the seed and its number, so a resumed run repeats an unbroken one.
        seed = schedule.seed * 10_000 + epoch
        order = torch.randperm(len(self.faces), generator=torch.Generator().manual_seed(seed))
        own_seed = seed + _SEED_STRIDE * (1 + self.workers.rank)
        torch.manual_seed(own_seed)
        generator = torch.Generator().manual_seed(own_seed)
        steps = max(len(order) // schedule.batch, 1)
        self.parallel.train()
        finetuning.set_stage(self.network, self.recipe.finetuning, epoch)
        losses = []
        bar = tqdm(
            range(steps),
            desc=f"epoch {epoch + 1}/{schedule.epochs}",
            unit=" batches",
            leave=False,
            mininterval=2,
            disable=not self.workers.leads,
        )
        for step in bar:
            batch = order[step * schedule.batch : (step + 1) * schedule.batch][self.workers.rank :: self.workers.count]
            share = rate_share(schedule, epoch + step / steps)
            losses.append(self._step(*self._draw(batch, schedule.size(epoch), generator), share))
        figures = self.validate()
        rate, val_loss = share * schedule.learning_rate, figures.pop("loss")
        train_loss = torch.stack(losses).mean().item()
        return EpochLog(epoch + 1, rate, train_loss, val_loss, figures, time.perf_counter() - started)

    def _draw(self, rows: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Augmented faces (n, 1, side, side) of these rows, and the targets of each."""
        settings, own = self.recipe.augmentation, rows.to(self.workers.device)
        targets = {name: table[own] for name, table in self.targets.items()}
        # A target that is a map over the face moves with it.
        maps = {name: table for name, table in targets.items() if table.ndim == 4}
        places = None
        if self.lessons is not None:
            places, targets["lesson"] = self.lessons.draw(own, generator)
        faces, moved = augment_with_maps(self.faces[own], list(maps.values()), settings, generator, side, places)
        targets.update(zip(maps, moved, strict=True))
        faces = self.noise(faces, len(self.logs), generator)
        if settings.mixup > 0:
            share, partner = mixup(len(rows), settings.mixup, generator)
            faces = mixed(faces, share, partner)
            targets = {name: mixed(rows_wanted, share, partner) for name, rows_wanted in targets.items()}
        return faces, targets

    def _step(self, faces: Tensor, targets: dict[str, Tensor], share: float) -> Tensor:
        """Move the weights once; the loss, left on the device so that nothing waits for it."""
        faces = faces.contiguous(memory_format=torch.channels_last)
        if self.teachers:
            with torch.no_grad(), self._autocast():
                taught = torch.stack([teacher(faces) for teacher in self.teachers])
            targets = {**targets, "lesson": lesson(taught.float(), self.recipe.distillation.temperature)}
        loss = self._backward(faces, targets)
        if self.recipe.schedule.sharpness_radius > 0:
            with uphill(self.network, self.recipe.schedule.sharpness_radius):
                self._backward(faces, targets)
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            optimizer.step()
        self._average_weights()
        return loss

    def _backward(self, faces: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """The loss, whose gradient is then that of the weights."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with self._autocast():
            outputs = self.parallel(faces)
        outputs = {TASK: outputs} if isinstance(outputs, Tensor) else outputs
        loss = self._loss({name: output.float() for name, output in outputs.items()}, targets)
        loss.backward()
        return loss.detach()

    def _autocast(self) -> torch.autocast:
        bf16 = self.recipe.schedule.precision == "bf16"
        return torch.autocast(self.workers.device.type, torch.bfloat16, enabled=bf16)

    def _loss(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """The task's loss, shared with the teachers' lesson, plus those of the goals beside it."""
        logits = outputs[TASK] if self.offsets is None else outputs[TASK] + self.offsets
        loss = self.task.loss(logits, targets[TASK])
        if "lesson" in targets:
            settings = self.recipe.distillation
            taught = distillation_loss(logits, targets["lesson"], settings.temperature)
            loss = (1 - settings.share) * loss + settings.share * taught
        for name, beside in self.beside.items():
            loss = loss + beside.weight * beside.goal.loss(outputs[name], targets[name])
        return loss

    @torch.no_grad()
    def _average_weights(self) -> None:
        decay = self.recipe.schedule.ema_decay
        if self.recipe.schedule.ema_warmup:
            decay = min(decay, (1 + self.steps_done) / (10 + self.steps_done))
        self.steps_done += 1
        live = self.network.state_dict()
        moving = [key for key, value in live.items() if value.is_floating_point()]
        # One call for all tensors: on a GPU a call each would cost more than the arithmetic.
        torch._foreach_lerp_([self.average[key] for key in moving], [live[key] for key in moving], 1 - decay)
        for key in live.keys() - set(moving):
            self.average[key].copy_(live[key])

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on PublicTest, as the task gives them."""
        live = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        outputs = predict(self.network, self.val_images)
        self.network.load_state_dict(live)
        return self.task.figures(outputs, self.val_truth)

    def finish_epoch(self, log: EpochLog) -> None:
        """Keep the state a restart resumes from."""
        self.logs.append(log)
        if self.workers.leads:
            self._write()
        self.workers.wait()

    def _write(self) -> None:
        state = {
            "recipe": recipe_as_json(self.recipe),
            "origin": self.origin,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps_done": self.steps_done,
            "logs": [entry.row() for entry in self.logs],
        }
        with atomic_write(self.run / "state.pt") as temporary:
            torch.save(state, temporary)
        write_log(self.run / "log.csv", self.logs)

    def resume(self) -> None:
        """Continue from state.pt where there is one. Raises UsageError when it is of another recipe or other data."""
        path = self.run / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True, map_location=self.workers.device)
        if _completed(state["recipe"], path) != recipe_as_json(self.recipe):
            raise UsageError(
                f"{path} was made by another recipe. Remove {self.run} to start again, or restore the recipe."
            )
        if state.get("origin", self.origin) != self.origin:
            raise UsageError(
                f"{path} was made from other data, or the files its recipe names have changed since. Remove {self.run} "
                "to start again, or restore them."
            )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.steps_done = state["steps_done"]
        self.logs = [EpochLog.of_row(entry) for entry in state["logs"]]


def fit(
    recipe: Recipe,
    data: Faces,
    run: Path,
    workers: Workers = ALONE,
    *,
    minutes: float | None = None,
    compiled: bool = False,
) -> Trainer:
    """Train to the end of the schedule in folder `run`, from where an earlier start got to.

    With `minutes`, at least one epoch is trained, and none is begun that would end after them if it took as long as
    the one before: then UnfinishedError is raised. `compiled` trains through torch.compile.
    """
    run.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with single_run(run) if workers.leads else nullcontext():
        trainer = Trainer(recipe, data, run, workers, compiled=compiled)
        trainer.resume()
        if trainer.taken and not trainer.logs and workers.leads:
            tensors = len(trainer.average)
            print(
                f"{recipe.name} begins with {trainer.taken} of its {tensors} tensors from {recipe.finetuning.weights}"
            )
        if trainer.logs and workers.leads:
            print(f"resuming {recipe.name} after epoch {len(trainer.logs)} of {recipe.schedule.epochs}", flush=True)
        while len(trainer.logs) < recipe.schedule.epochs:
            log = trainer.train_epoch()
            trainer.finish_epoch(log)
            if workers.leads:
                print(_one_line(log, recipe.schedule.epochs), flush=True)
            ends = (time.monotonic() - started + log.seconds) / 60
            if workers.any(minutes is not None and ends > minutes) and len(trainer.logs) < recipe.schedule.epochs:
                raise UnfinishedError(
                    f"{recipe.name}: --minutes {minutes:g} are over after epoch {log.epoch} of "
                    f"{recipe.schedule.epochs}. Start it again to go on."
                )
    return trainer


def _one_line(log: EpochLog, epochs: int) -> str:
    figures = "  ".join(f"{name} {value:.4f}" for name, value in list(log.figures.items())[:2])
    figures = f"PublicTest {figures}"
    return f"epoch {log.epoch}/{epochs}  loss {log.train_loss:.3f}  {figures}  {log.seconds:.0f} s"


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


def recipe_as_json(recipe: Recipe) -> str:
    """The whole recipe as one line, to compare runs by."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def _completed(stored: str, path: Path) -> str:
    """The recipe a run was begun with, as `recipe_as_json`, options that came later at what they were until then."""
    try:
        return recipe_as_json(from_table(json.loads(stored), str(path)))
    except UsageError:
        return stored  # it has an option this program does not know


def write_log(path: Path, logs: list[EpochLog]) -> None:
    """The run's log as CSV, one row an epoch."""
    columns = list(logs[0].row())
    write_cells(path, columns, (entry.row() for entry in logs), dict.fromkeys(columns, 6))
