"""Goals: what a network can be taught, each with its targets, its loss and, for a task, its figures."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fer_edge.errors import UsageError
from fer_edge.metrics import classification_metrics, f1_scores, softmax, value_metrics
from fer_edge.tasks import TASKS
from fer_edge.truth import POSITIVE_SHARE, shares

from train.data.annotated import AnnotatedFaces, Faces
from train.data.fer2013 import EXPRESSIONS, Fer2013
from train.fit.recipe import Labels


class Goal(Protocol):
    """Something to learn. `targets` are (n, ...) float32 for n faces, NaN where nothing is known of one."""

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """The target of every face. Raises UsageError or DataError where the data cannot give it."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A scalar, from the network's outputs for a batch and the targets of its faces."""
        ...


class Task(Goal, Protocol):
    """A goal that can be a network's main one: it can be measured, and its outputs have names."""

    name: str
    labels: tuple[str, ...]

    def truth(self, data: Faces) -> NDArray[Any]:
        """Ground truth of every face: (n,) int64, below 0 where unknown, or (n, k) float32 with NaN."""
        ...

    def figures(self, outputs: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
        """`loss`, then the figure that selects the best weights (greater is better), then others."""
        ...


def known(truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Faces (n,) of which the truth (n,) or (n, ...) says something."""
    if truth.ndim == 1:
        return truth >= 0
    return ~np.isnan(truth.reshape(len(truth), -1)).all(axis=1)


@dataclass(frozen=True)
class ClassTask:
    """One of several classes; the outputs are logits."""

    name: str
    labels: tuple[str, ...]

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """Distributions over the classes, (n, classes), smoothed as the recipe says."""
        if isinstance(data, AnnotatedFaces):
            return _smoothed(_one_hot(data.truth(self.name), len(self.labels)), labels.smoothing)
        if self.name == "expression7":
            return soft_targets(data, labels)
        if self.name == "positive-negative":
            return soft_targets(data, labels) @ _grouping()
        data.truth(self.name)  # says what is missing where there are no votes
        return _smoothed(shares(data.votes), labels.smoothing)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy over the faces with a distribution."""
        counts = ~targets.isnan().any(dim=1)
        return F.cross_entropy(outputs[counts], targets[counts]) if counts.any() else outputs.sum() * 0

    def truth(self, data: Faces) -> NDArray[Any]:
        """See `Task`."""
        return data.truth(self.name)

    def figures(self, outputs: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
        """See `Task`: cross-entropy, accuracy, macro-F1."""
        probabilities = softmax(outputs)
        metrics = classification_metrics(truth, probabilities)
        chosen = probabilities[np.arange(len(truth)), truth]
        loss = float(-np.log(chosen + 1e-9).mean())
        return {"loss": loss, "accuracy": metrics.accuracy, "macro_f1": metrics.macro_f1}


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
    return _smoothed(targets, labels.smoothing)


def logit_offsets(targets: Tensor, balance: float) -> Tensor:
    """Offsets (classes,) of the logits in the loss for `Labels.balance`, from targets (n, classes) of Training."""
    shares_of_classes = targets.nanmean(dim=0)
    return balance * shares_of_classes.clamp(min=1 / len(targets)).log()


class VoteGoal:
    """The votes for the eight classes of FER+, for a second head; a face without votes asks nothing."""

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """Distributions of the votes, (n, 8) float32; zeros where a face has none."""
        if not isinstance(data, Fer2013) or data.votes is None:
            raise UsageError(
                "the recipe has a second head for FER+, but no votes were read. Give FERPLUS to `make data`."
            )
        return torch.from_numpy(np.nan_to_num(shares(data.votes)))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(outputs, targets)


def _smoothed(targets: NDArray[np.floating], smoothing: float) -> Tensor:
    return torch.from_numpy(((1 - smoothing) * targets + smoothing / targets.shape[1]).astype(np.float32))


def _one_hot(truth: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    rows = np.eye(classes, dtype=np.float32)[np.maximum(truth, 0)]
    rows[truth < 0] = np.nan
    return rows


def _grouping() -> Tensor:
    """From the seven classes to negative and positive, (7, 2): a face that is neither teaches to be undecided."""
    positive = torch.tensor([POSITIVE_SHARE[name] for name in EXPRESSIONS])
    return torch.stack([1 - positive, positive], dim=1)


@dataclass(frozen=True)
class ValueTask:
    """One or more values on a scale; the outputs are estimates of them.

    The loss is the mean squared error plus 1 - CCC of the batch, averaged over the values: the error alone would let a
    network predict means, the correlation alone leaves scale and offset slow to settle.
    """

    name: str
    labels: tuple[str, ...]
    selects: str

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """The values themselves, (n, k)."""
        return torch.from_numpy(self.truth(data))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See the class; faces without a value do not count."""
        losses = []
        for estimate, value in zip(outputs.unbind(1), targets.unbind(1), strict=True):
            counts = ~value.isnan()
            if counts.sum() > 1:
                estimate, value = estimate[counts], value[counts]
                losses.append(F.mse_loss(estimate, value) + 1 - concordance(estimate, value))
        return torch.stack(losses).mean() if losses else outputs.sum() * 0

    def truth(self, data: Faces) -> NDArray[Any]:
        """See `Task`."""
        return data.truth(self.name).astype(np.float32)

    def figures(self, outputs: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
        """See `Task`: mean squared error, the figure `selects` averaged over the values, then every value's own."""
        task = TASKS[self.name]
        answers = np.clip(outputs, task.low, task.high)
        measured = [value_metrics(truth[:, k], answers[:, k]) for k in range(truth.shape[1])]
        own = {
            f"{figure}_{label}": getattr(metrics, figure)
            for label, metrics in zip(self.labels, measured, strict=True)
            for figure in ("ccc", "pcc", "icc", "rmse", "mae", "sagr")
        }
        mean = float(np.mean([getattr(metrics, self.selects) for metrics in measured]))
        return {"loss": float(np.square(answers - truth).mean()), self.selects: mean, **own}


def concordance(first: Tensor, second: Tensor) -> Tensor:
    """Lin's concordance correlation of two series (n,), with a gradient."""
    covariance = ((first - first.mean()) * (second - second.mean())).mean()
    spread = first.var(unbiased=False) + second.var(unbiased=False) + (first.mean() - second.mean()).square()
    return 2 * covariance / (spread + 1e-8)


@dataclass(frozen=True)
class LabelTask:
    """Several labels that may hold together; the outputs are logits of each."""

    name: str
    labels: tuple[str, ...]

    def targets(self, data: Faces, labels: Labels) -> Tensor:
        """1 where a label holds, 0 where not, NaN where nobody looked, (n, labels)."""
        return torch.from_numpy(self.truth(data))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy over what is known."""
        counts = ~targets.isnan()
        if not counts.any():
            return outputs.sum() * 0
        return F.binary_cross_entropy_with_logits(outputs[counts], targets[counts])

    def truth(self, data: Faces) -> NDArray[Any]:
        """See `Task`."""
        return data.truth(self.name).astype(np.float32)

    def figures(self, outputs: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
        """See `Task`: cross-entropy, mean F1 over the labels anybody looked for, then the F1 of each of those."""
        targets, logits = torch.from_numpy(truth), torch.from_numpy(outputs)
        own = {}
        for column, label in enumerate(self.labels):
            looked = ~np.isnan(truth[:, column])
            if looked.any():
                own[f"f1_{label}"] = float(
                    f1_scores(truth[looked, column, None] > 0.5, outputs[looked, column, None] > 0)[0]
                )
        return {"loss": self.loss(logits, targets).item(), "f1": float(np.mean(list(own.values()))), **own}
