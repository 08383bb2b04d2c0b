"""The training loop: one recipe, one run folder, resumable after a kill with the result of an unbroken run."""

import csv
import dataclasses
import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.metrics import ClassificationMetrics, classification_metrics, softmax

from train import architectures, checkpoint
from train.augment import augment, mixed, mixup
from train.fer2013 import EXPRESSIONS, SPLITS, Fer2013
from train.optimizer import make_optimizers
from train.recipe import Labels, Recipe, Schedule
from train.workers import ALONE, Workers

# Keeps the random numbers of different workers, and of order and augmentation, apart.
_SEED_STRIDE = 1_000_003
_FERPLUS_CLASSES = 8
_LOG_FIELDS = ("epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_macro_f1", "seconds")


@dataclass(frozen=True)
class EpochLog:
    """One row of log.csv. `val_*` are the averaged weights on PublicTest, single crop; fractions in [0, 1]."""

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    seconds: float


def soft_targets(data: Fer2013, labels: Labels) -> Tensor:
    """Target distributions, (n, 7) float32: FER2013's label blended with the FER+ votes for the same seven classes.

    A face nobody gave one of the seven keeps its FER2013 label alone. (Vote distributions: Barsoum et al., 2016.)
    """
    one_hot = np.eye(len(EXPRESSIONS), dtype=np.float32)[data.emotions]
    targets = one_hot
    if labels.ferplus_share > 0:
        class_votes = data.class_votes()
        if class_votes is None:
            raise UsageError(
                "the recipe blends FER+ votes, but none were read. Give FERPLUS=fer2013new.csv to `make data`."
            )
        votes = class_votes.astype(np.float32)
        total = votes.sum(axis=1, keepdims=True)
        share = labels.ferplus_share * (total > 0)
        targets = (1 - share) * one_hot + share * votes / np.maximum(total, 1)
    targets = (1 - labels.smoothing) * targets + labels.smoothing / len(EXPRESSIONS)
    return torch.from_numpy(targets.astype(np.float32))


def second_targets(data: Fer2013) -> Tensor:
    """Distributions of the votes for the eight classes of FER+, (n, 8) float32; zeros where a face has none."""
    votes = data.ferplus_votes()
    if votes is None:
        raise UsageError("the recipe has a second head for FER+, but no votes were read. Give FERPLUS to `make data`.")
    counts = votes.astype(np.float32)
    return torch.from_numpy(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def predict(network: nn.Module, images: np.ndarray, batch: int = 512) -> np.ndarray:
    """Logits (n, classes) float32 of raw grey faces (n, 48, 48) uint8, single crop, float arithmetic."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        parts = [
            network(checkpoint.normalise(torch.from_numpy(images[start : start + batch]).to(device)).unsqueeze(1))
            for start in range(0, len(images), batch)
        ]
    return torch.cat(parts).cpu().numpy()


def load_teacher(path: Path) -> nn.Module:
    """A finished network that only answers: frozen, in eval mode. Raises ModelError."""
    teacher = checkpoint.load(path).network.to(memory_format=torch.channels_last)
    return teacher.requires_grad_(False)


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


def rate_share(schedule: Schedule, epoch: float) -> float:
    """Share of the highest learning rate: linear warm-up, then half a cosine to zero; `epoch` may be fractional."""
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    progress = (epoch - schedule.warmup_epochs) / (schedule.epochs - schedule.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Trainer:
    """Holds what changes during a run: live weights, averaged weights, optimizer, epochs done, best so far."""

    def __init__(self, recipe: Recipe, data: Fer2013, run: Path, workers: Workers = ALONE) -> None:
        self.recipe, self.run, self.workers = recipe, run, workers
        torch.manual_seed(recipe.schedule.seed)
        self.network = architectures.build(recipe.architecture, recipe.arguments)
        self.network = self.network.to(workers.device, memory_format=torch.channels_last)
        self.parallel = workers.parallel(self.network)
        teachers = [load_teacher(Path(name)).to(workers.device) for name in recipe.distillation.teachers]
        self.teachers = teachers if recipe.distillation.live else []
        self.steps_done = 0
        self.average = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.optimizers = make_optimizers(self.network, recipe.schedule)
        self.logs: list[EpochLog] = []
        self.best_accuracy = -1.0
        training = data.usage == SPLITS.index("Training")
        validation = data.usage == SPLITS.index("PublicTest")
        self.faces = checkpoint.normalise(torch.from_numpy(data.images[training])).unsqueeze(1)
        self.wanted = {"labels": soft_targets(data, recipe.labels)[torch.from_numpy(training)]}
        if recipe.labels.second_head > 0:
            if recipe.arguments.get("second_classes") != _FERPLUS_CLASSES:
                raise UsageError(f"{recipe.name}: a second head needs second_classes = {_FERPLUS_CLASSES}.")
            self.wanted["second"] = second_targets(data)[torch.from_numpy(training)]
        if teachers and not recipe.distillation.live:
            taught = torch.stack([answers(teacher, data.images[training]) for teacher in teachers])
            self.wanted["lesson"] = lesson(taught, recipe.distillation.temperature)
        self.val_images, self.val_labels = data.images[validation], data.emotions[validation]

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
        metrics, val_loss = self.validate()
        return EpochLog(
            epoch + 1,
            share * schedule.learning_rate,
            float(np.mean(losses)),
            val_loss,
            metrics.accuracy,
            metrics.macro_f1,
            time.perf_counter() - started,
        )

    def _draw(self, rows: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Augmented faces (n, 1, side, side) of these rows, and what is wanted of the network for each."""
        settings = self.recipe.augmentation
        faces = augment(self.faces[rows], settings, generator, side)
        wanted = {name: table[rows] for name, table in self.wanted.items()}
        if settings.mixup > 0:
            share, partner = mixup(len(rows), settings.mixup, generator)
            faces = mixed(faces, share, partner)
            wanted = {name: mixed(rows_wanted, share, partner) for name, rows_wanted in wanted.items()}
        return faces, wanted

    def _step(self, faces: Tensor, wanted: dict[str, Tensor], share: float) -> float:
        device, low_precision = self.workers.device, self.recipe.schedule.precision == "bf16"
        faces = faces.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            logits = self.parallel(faces)
            taught = [teacher(faces) for teacher in self.teachers]
        wanted = {name: rows.to(device) for name, rows in wanted.items()}
        if taught:
            wanted["lesson"] = lesson(torch.stack(taught).float(), self.recipe.distillation.temperature)
        loss = self._loss(logits.float(), wanted)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            optimizer.step()
        self._average_weights()
        return loss.item()

    def _loss(self, logits: Tensor, wanted: dict[str, Tensor]) -> Tensor:
        """Cross-entropy to the labels, shared with the teachers' lesson, plus that of the second head."""
        classes = wanted["labels"].shape[1]
        loss = F.cross_entropy(logits[:, :classes], wanted["labels"])
        if "lesson" in wanted:
            settings = self.recipe.distillation
            taught = distillation_loss(logits[:, :classes], wanted["lesson"], settings.temperature)
            loss = (1 - settings.share) * loss + settings.share * taught
        if "second" in wanted:
            loss = loss + self.recipe.labels.second_head * F.cross_entropy(logits[:, classes:], wanted["second"])
        return loss

    @torch.no_grad()
    def _average_weights(self) -> None:
        decay = self.recipe.schedule.ema_decay
        if self.recipe.schedule.ema_warmup:
            decay = min(decay, (1 + self.steps_done) / (10 + self.steps_done))
        self.steps_done += 1
        for key, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - decay)
            else:
                self.average[key].copy_(value)

    def validate(self) -> tuple[ClassificationMetrics, float]:
        """Metrics and cross-entropy of the averaged weights on PublicTest."""
        live = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        probabilities = softmax(predict(self.network, self.val_images))
        self.network.load_state_dict(live)
        chosen = probabilities[np.arange(len(self.val_labels)), self.val_labels]
        return classification_metrics(self.val_labels, probabilities), float(-np.log(chosen + 1e-9).mean())

    def finish_epoch(self, log: EpochLog) -> None:
        """Keep the averaged weights when they are the best so far, then the state a restart resumes from."""
        self.logs.append(log)
        if self.workers.leads:
            self._write(log)
        self.workers.wait()

    def _write(self, log: EpochLog) -> None:
        if log.val_accuracy > self.best_accuracy:
            self.best_accuracy = log.val_accuracy
            with atomic_write(self.run / "best.pt") as temporary:
                torch.save(self.average, temporary)
        state = {
            "recipe": recipe_as_json(self.recipe),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps_done": self.steps_done,
            "logs": [dataclasses.asdict(entry) for entry in self.logs],
            "best_accuracy": self.best_accuracy,
        }
        with atomic_write(self.run / "state.pt") as temporary:
            torch.save(state, temporary)
        write_log(self.run / "log.csv", self.logs)

    def resume(self) -> None:
        """Continue from state.pt where there is one. Raises UsageError when it belongs to another recipe."""
        path = self.run / "state.pt"
        if not path.is_file():
            return
        state = torch.load(path, weights_only=True, map_location=self.workers.device)
        if state["recipe"] != recipe_as_json(self.recipe):
            raise UsageError(
                f"{path} was made by another recipe. Remove {self.run} to start anew, or restore the recipe."
            )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.steps_done = state["steps_done"]
        self.logs = [EpochLog(**entry) for entry in state["logs"]]
        self.best_accuracy = state["best_accuracy"]


def fit(recipe: Recipe, data: Fer2013, run: Path, workers: Workers = ALONE) -> Trainer:
    """Train to the end of the schedule in folder `run`, from where an earlier start got to."""
    run.mkdir(parents=True, exist_ok=True)
    with single_run(run) if workers.leads else nullcontext():
        trainer = Trainer(recipe, data, run, workers)
        trainer.resume()
        if trainer.logs and workers.leads:
            print(f"resuming {recipe.name} after epoch {len(trainer.logs)} of {recipe.schedule.epochs}", flush=True)
        while len(trainer.logs) < recipe.schedule.epochs:
            log = trainer.train_epoch()
            trainer.finish_epoch(log)
            if workers.leads:
                print(_one_line(log, recipe.schedule.epochs), flush=True)
    return trainer


def _one_line(log: EpochLog, epochs: int) -> str:
    figures = f"PublicTest {log.val_accuracy:.2%}  macro-F1 {log.val_macro_f1:.2%}"
    return f"epoch {log.epoch}/{epochs}  loss {log.train_loss:.3f}  {figures}  {log.seconds:.0f} s"


@contextmanager
def single_run(run: Path) -> Iterator[None]:
    """Hold the run folder's lock; the kernel releases it even after SIGKILL. Raises UsageError when it is taken."""
    with open(run / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"a training run already works in {run}. Wait for it, or stop it first.") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def recipe_as_json(recipe: Recipe) -> str:
    """The whole recipe as one line, to compare runs by."""
    return json.dumps(dataclasses.asdict(recipe), sort_keys=True)


def write_log(path: Path, logs: list[EpochLog]) -> None:
    """The run's log as CSV, one row an epoch."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, _LOG_FIELDS)
        writer.writeheader()
        for entry in logs:
            writer.writerow({key: round(value, 6) for key, value in dataclasses.asdict(entry).items()})
