"""Tasks of a model and the meaning of its numbers: the one table that contract, export and runtime go by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CLASSES, LABELS, VALUES = "classes", "labels", "values"
NOTHING = "none"
"""Name of a face for which no label holds."""

FER_PLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
# Valence and arousal of the words of FER_PLUS. The circumplex is Russell's (1980); the coordinates follow the ratings
# of Russell and Mehrabian (1977), rounded, and are this project's choice, as every set of them is somebody's.
CIRCUMPLEX: dict[str, tuple[float, ...]] = {
    "neutral": (0.0, 0.0),
    "happiness": (0.8, 0.5),
    "surprise": (0.4, 0.7),
    "sadness": (-0.65, -0.3),
    "anger": (-0.5, 0.6),
    "disgust": (-0.6, 0.35),
    "fear": (-0.65, 0.8),
    "contempt": (-0.45, 0.15),
}


@dataclass(frozen=True)
class TaskSpec:
    """One kind of question. `kind` says how the numbers of the labels go together:

    CLASSES: exactly one label is true, the numbers are probabilities with sum 1; LABELS: each label is true or not by
    itself, the numbers are probabilities; VALUES: each label is a scale from `low` to `high`. `count` is the number of
    labels, None where any number will do. `anchors` are named places on the scales, for people to read.
    """

    kind: str
    count: int | None
    low: float = 0.0
    high: float = 1.0
    anchors: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def name_of(self, numbers: Sequence[float], labels: tuple[str, ...]) -> str:
        """Name a face by these numbers (labels,): its class, its nearest anchor, or the labels that hold."""
        if self.kind == CLASSES:
            return labels[max(range(len(labels)), key=numbers.__getitem__)]
        if self.kind == LABELS:
            return "+".join(holding(numbers, labels))
        return min(self.anchors, key=lambda anchor: math.dist(numbers, anchor[1]))[0]

    def said(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """All that `name_of` may say; nothing for a task of labels, whose combinations are too many."""
        return () if self.kind == LABELS else self.names(labels)

    def strength(self, confidence: float, numbers: Sequence[float]) -> str:
        """Format the text beside a face's name: its confidence, "87%", or its values, "+0.62 -0.10".

        Scales without a negative side go without a sign.
        """
        if self.kind != VALUES:
            return f"{confidence:.0%}"
        return " ".join(f"{value:+.2f}" if self.low < 0 else f"{value:.2f}" for value in numbers)

    def names(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The names that are counted and have a colour: the labels of a model, or the anchors."""
        if self.kind == LABELS:
            return tuple(dict.fromkeys((*labels, NOTHING)))
        return tuple(name for name, _ in self.anchors) or labels


def holding(numbers: Sequence[float], labels: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the labels that hold by themselves, NOTHING where none does."""
    return tuple(label for label, p in zip(labels, numbers, strict=True) if p >= 0.5) or (NOTHING,)


TASKS: dict[str, TaskSpec] = {
    "expression7": TaskSpec(CLASSES, 7),
    "expression8": TaskSpec(CLASSES, 8),
    "classes": TaskSpec(CLASSES, None),
    "positive-negative": TaskSpec(CLASSES, 2),
    "valence-arousal": TaskSpec(VALUES, 2, low=-1.0, anchors=tuple(CIRCUMPLEX.items())),
    "smile-intensity": TaskSpec(VALUES, 1, anchors=(("no smile", (0.0,)), ("slight smile", (0.5,)), ("smile", (1.0,)))),
    "action-units": TaskSpec(LABELS, None),
}
