"""The tasks and goals by name: what a recipe may ask a network to learn, as its task or beside it.

The tasks a contract can name are here, and what may be learned beside them: `saliency`, `independence`,
`invariance`, `attributes` and `attached` belong to one architecture each, and no export holds them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_edge.metrics import softmax
from fer_edge.tasks import CLASSES, FER_PLUS, LABELS, TASKS
from fer_edge.truth import LABELS_OF, POLARITIES

from train.data.annotated import ACTION_UNITS
from train.data.fer2013 import EXPRESSIONS
from train.fit import attributes, saliency
from train.fit.goals import ClassTask, Goal, LabelTask, Task, ValueTask, VoteGoal
from train.fit.recipe import Recipe

# Where a network that answers more than one thing in training puts the answer to its task.
TASK = "task"
_TASKS: dict[str, Task] = {
    "expression7": ClassTask("expression7", EXPRESSIONS),
    "expression8": ClassTask("expression8", FER_PLUS),
    "positive-negative": ClassTask("positive-negative", POLARITIES),
    "valence-arousal": ValueTask("valence-arousal", LABELS_OF["valence-arousal"], "ccc"),
    "smile-intensity": ValueTask("smile-intensity", LABELS_OF["smile-intensity"], "icc"),
    "action-units": LabelTask("action-units", ACTION_UNITS),
    "saliency": saliency.SaliencyTask(),
}
_GOALS: dict[str, Goal] = {
    "attributes": attributes.AttributeGoal(),
    "independence": attributes.IndependenceGoal(),
    "invariance": attributes.InvarianceGoal(),
}


def task_of(recipe: Recipe) -> Task:
    """The task a recipe names. Raises UsageError."""
    if recipe.task not in _TASKS:
        raise UsageError(f"{recipe.name}: task {recipe.task!r} is unknown; there are: {', '.join(_TASKS)}.")
    if recipe.distillation.teachers and not is_of_classes(recipe.task):
        raise UsageError(f"{recipe.name}: teachers teach classes, and {recipe.task} has none.")
    return _saliency(recipe) if recipe.task == "saliency" else _TASKS[recipe.task]


def _saliency(recipe: Recipe) -> saliency.SaliencyTask:
    """The task with the recipe's indicators. Raises UsageError for one that is unknown, or for none."""
    indicators = recipe.labels.saliency_indicators
    if not indicators or set(indicators) - set(saliency.INDICATORS):
        raise UsageError(
            f"{recipe.name}: saliency_indicators is {list(indicators)}, expected some of "
            f"{', '.join(saliency.INDICATORS)}."
        )
    return saliency.SaliencyTask(indicators=indicators)


@dataclass(frozen=True)
class Beside:
    """A goal beside the task, and the weight of its loss."""

    goal: Goal
    weight: float


def beside(recipe: Recipe) -> dict[str, Beside]:
    """Goals a recipe trains beside its task, by name; `attached` is the task once more. Raises UsageError."""
    goals = {**_TASKS, **_GOALS, "saliency": _saliency(recipe), "attached": task_of(recipe)}
    unknown = [name for name in recipe.beside if name not in goals]
    if unknown:
        raise UsageError(f"{recipe.name}: [beside] {unknown[0]!r} is unknown; there are: {', '.join(goals)}.")
    chosen = {name: Beside(goals[name], weight) for name, weight in recipe.beside.items()}
    if recipe.labels.second_head > 0:
        if recipe.arguments.get("second_classes") != len(FER_PLUS):
            raise UsageError(f"{recipe.name}: a second head needs second_classes = {len(FER_PLUS)}.")
        chosen["second"] = Beside(VoteGoal(), recipe.labels.second_head)
    return chosen


def is_of_classes(task: str) -> bool:
    """Whether exactly one label of `task` is true of a face."""
    return task in TASKS and TASKS[task].kind == CLASSES


def output_meaning(task: str) -> str:
    """Output meaning of an exported network of `task`, as its contract says it."""
    return "logits" if TASKS[task].kind in (CLASSES, LABELS) else "values"


def labels_of(task: str) -> tuple[str, ...]:
    """The names of a task's outputs. Raises UsageError where there is no such task."""
    if task not in _TASKS:
        raise UsageError(f"task {task!r} is unknown; there are: {', '.join(_TASKS)}.")
    return _TASKS[task].labels


def answers(task: str, outputs: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Convert outputs (n, labels) as a contract does: to probabilities, or values inside the task's scale."""
    if task not in TASKS:
        return outputs
    spec = TASKS[task]
    if spec.kind == CLASSES:
        return np.asarray(softmax(outputs / temperature), dtype=np.float32)
    if spec.kind == LABELS:
        return np.asarray(1 / (1 + np.exp(-outputs / temperature)), dtype=np.float32)
    return np.clip(outputs, spec.low, spec.high)


def mirrored_back(task: str, answered: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert predictions (n, labels) for mirrored faces to those for the faces: only a map is turned back."""
    if task != "saliency":
        return answered
    side = round(answered.shape[1] ** 0.5)
    return answered.reshape(-1, side, side)[:, :, ::-1].reshape(answered.shape)


def figures_of_answers(task: str, answered: NDArray[np.float32], truth: NDArray[Any]) -> dict[str, float]:
    """The figures of a task without its loss, from `answers` instead of outputs."""
    if task in TASKS and TASKS[task].kind == LABELS:
        bounded = np.clip(answered, 1e-6, 1 - 1e-6)
        answered = np.log(bounded / (1 - bounded))
    figures = _TASKS[task].figures(answered, truth)
    return {name: value for name, value in figures.items() if name != "loss"}
