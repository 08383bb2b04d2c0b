"""The training loop: one recipe, one run folder, resumable after a kill with the result of an unbroken run."""

import time
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fer_edge.errors import DataError, FerEdgeError, UsageError

from train import architectures
from train.data.annotated import Faces
from train.data.fer2013 import SPLITS
from train.fit import finetuning, tasks
from train.fit.batches import Batches
from train.fit.distillation import distillation_loss, lesson, load_teacher
from train.fit.goals import known, logit_offsets
from train.fit.optimizer import learning_rate_factor, make_optimizers, uphill
from train.fit.prediction import predict
from train.fit.recipe import Recipe
from train.fit.run_state import EpochLog, load_state, origin_of, save_state, single_run
from train.fit.tasks import TASK, task_of
from train.fit.workers import ALONE, Workers

# Keeps the random numbers of different workers, and of order and augmentation, apart.
_SEED_STRIDE = 1_000_003


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
        self.origin = origin_of(recipe, data)
        self.network = self.network.to(workers.device, memory_format=torch.channels_last)
        parallel = workers.parallel(self.network, some_frozen=recipe.finetuning.head_epochs > 0)
        self.parallel = torch.compile(parallel) if compiled else parallel
        named = (load_teacher(Path(name), self.task.labels) for name in recipe.distillation.teachers)
        teachers = [teacher.to(workers.device) for teacher in named]
        self.teachers = teachers if recipe.distillation.live else []
        taught_once = [] if recipe.distillation.live else teachers
        self.batches = Batches(recipe, data, self.task, self.beside, taught_once, workers.device)
        balance = recipe.labels.balance
        self.offsets = logit_offsets(self.batches.targets[TASK], balance) if balance else None
        self.steps_done = 0
        self.average = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        self.optimizers = make_optimizers(self.network, recipe.schedule, recipe.finetuning)
        self.logs: list[EpochLog] = []
        truth = self.task.truth(data)
        validation = (data.usage == SPLITS.index("PublicTest")) & known(truth)
        if not validation.any():
            raise DataError(f"{data.dataset}: no faces of PublicTest with a truth for {recipe.task}.")
        self.val_images, self.val_truth = data.images[validation], truth[validation]
        self._require_outputs()

    @torch.no_grad()
    def _require_outputs(self) -> None:
        """Raise UsageError where the network does not answer all the recipe asks of it, in the number it asks for."""
        name = self.recipe.name
        # In training mode a network answers everything, but its statistics and the random numbers must stay theirs.
        with torch.random.fork_rng([]):
            copy = deepcopy(self.network).train()
            faces = self.batches.faces[:2].contiguous(memory_format=torch.channels_last)
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
        order = torch.randperm(len(self.batches), generator=torch.Generator().manual_seed(seed))
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
            factor = learning_rate_factor(schedule, epoch + step / steps)
            drawn = self.batches.draw(batch, epoch, schedule.size(epoch), generator)
            losses.append(self._step(*drawn, factor))
        figures = self.validate()
        rate, val_loss = factor * schedule.learning_rate, figures.pop("loss")
        train_loss = torch.stack(losses).mean().item()
        return EpochLog(epoch + 1, rate, train_loss, val_loss, figures, time.perf_counter() - started)

    def _step(self, faces: Tensor, targets: dict[str, Tensor], factor: float) -> Tensor:
        """Move the weights once, at `factor` of the highest learning rate; the loss.

        It is left on the device so that nothing waits for it.
        """
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
                group["lr"] = group["peak"] * factor
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
            state = {
                "network": self.network.state_dict(),
                "average": self.average,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "steps_done": self.steps_done,
            }
            save_state(self.run, self.origin, self.logs, state)
        self.workers.wait()

    def resume(self) -> None:
        """Continue from state.pt where there is one. Raises UsageError when it is of another recipe or other data."""
        found = load_state(self.run, self.origin, self.workers.device)
        if found is None:
            return
        state, self.logs = found
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.steps_done = state["steps_done"]


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
