"""The gate: what a smaller model must keep of its float model, judged by intervals on the faces at hand.

A limit is passed when the measured figure keeps it and the interval reaches no farther beyond it than the allowance;
failed when the interval lies beyond it as a whole; otherwise the faces are too few to tell.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fer_edge.errors import UsageError
from fer_edge.faces import LabelledFaces, ValuedFaces

from quantize.intervals import Interval, faces_needed, paired_drop, proportion
from quantize.losses import Loss, losses
from quantize.measure import Measurements
from quantize.recipes import Target


@dataclass(frozen=True)
class Limits:
    """Limits of the gate for a smaller model, measured against its float model.

    Accuracy and macro-F1 may fall by so many points (1 point = 1 %). For a task of values agreement is the CCC of the
    two models, and a hundredth of CCC with the truth is a point, held to the limit of accuracy. The allowances say how
    far the 95 % interval of a figure that keeps its limit may reach beyond it: about the interval's own half width on
    FER2013's 3,589 faces, where the gate is then as strict as the limits on the measured figures alone.

    Weights are compared, not files, as a small .tflite is largely its own description. Ratios of time, on an x86
    target, and of instructions, on an Arm one, are to the float model of the same engine.
    """

    max_accuracy_drop_points: float = 0.3
    max_macro_f1_drop_points: float = 0.5
    min_agreement: float = 0.98
    accuracy_allowance_points: float = 0.3
    macro_f1_allowance_points: float = 0.7
    agreement_allowance: float = 0.005
    max_weight_ratio: float = 0.35
    max_mixed_weight_ratio: float = 0.5
    max_fp16_weight_ratio: float = 0.6
    max_speed_ratio: float = 1.0
    max_fp16_speed_ratio: float = 1.05
    min_integer_convs: float = 0.5
    min_golden_agreement: float = 0.8


def limits_for(max_drop_points: float | None, min_agreement: float | None = None) -> Limits:
    """The usual limits, or those where accuracy may fall by `max_drop_points`, and macro-F1 by 0.2 points more.

    `min_agreement` is in percent. Raises UsageError unless both are from 0 to 100.
    """
    for name, value in (("--max-drop", max_drop_points), ("--min-agreement", min_agreement)):
        if value is not None and not 0 <= value <= 100:
            what = "points of accuracy" if name == "--max-drop" else "a percentage of the faces"
            raise UsageError(f"{name} {value:g}: expected {what}, 0 to 100.")
    changes: dict[str, Any] = {}
    if max_drop_points is not None:
        changes = {
            "max_accuracy_drop_points": max_drop_points,
            "max_macro_f1_drop_points": max_drop_points + 0.2,
        }
    if min_agreement is not None:
        changes["min_agreement"] = min_agreement / 100
    return Limits(**changes)


@dataclass(frozen=True)
class Miss:
    """A limit that is missed, or on which these faces cannot decide. `name` is of the figure, `unit` of its numbers.

    `interval` is None where nothing is estimated (sizes, counts). `decided` is False where the faces are too few, and
    `faces` is then how many would decide at the observed rates, None for more than anybody collects.
    """

    name: str
    limit: float
    measured: float
    unit: str
    at_least: bool = False
    interval: Interval | None = None
    decided: bool = True
    faces: int | None = None

    @property
    def keeps(self) -> bool:
        """Whether the measured figure alone keeps the limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True)
class Verdict:
    """Verdict of the gate on one model. `unmeasured` names figures that could not be had here."""

    misses: tuple[Miss, ...] = ()
    unmeasured: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Every limit is kept, and the faces suffice to say so."""
        return not self.misses

    @property
    def failed(self) -> bool:
        """A limit is missed beyond doubt."""
        return any(miss.decided for miss in self.misses)

    @property
    def acceptable(self) -> bool:
        """Nothing fails, and every measured figure keeps its limit: what `--accept-too-few` lets through."""
        return all(not miss.decided and miss.keeps for miss in self.misses)

    @property
    def faces(self) -> int | None:
        """How many faces would decide all that is open; None where nothing is, or more than anybody collects."""
        needed = [miss.faces for miss in self.misses if not miss.decided]
        return max((n for n in needed if n is not None), default=None) if None not in needed else None


def judge(
    candidate: Measurements,
    reference: Measurements,
    truth: LabelledFaces | ValuedFaces | None,
    limits: Limits,
    target: Target,
) -> Verdict:
    """Hold `candidate` against the float model `reference` of the same engine, measured on the same faces.

    Without labelled faces only a loose floor can be held: the synthetic golden inputs are not what a board will see,
    and many of them are near ties, but a model that disagrees on a fifth of them is broken.
    """
    missed = [*_form(candidate, reference, limits), *_quality(candidate, reference, truth, limits)]
    speed = candidate.speed(reference, target)
    unmeasured = [] if truth is not None else ["accuracy not measured"]
    if speed is None:
        unmeasured.append(f"speed on {target.cpu or target.name} not measured")
    else:
        missed += _speed(speed, candidate, limits, target)
    return Verdict(tuple(missed), tuple(unmeasured))


def can_pass(n: int, limits: Limits) -> bool:
    """Whether `n` faces would prove a perfect copy of a classifier to be one."""
    differ, drop = proportion(0, n).high, paired_drop(0, 0, n).high
    return (
        differ <= 1 - limits.min_agreement + limits.agreement_allowance
        and 100 * drop <= limits.max_accuracy_drop_points + limits.accuracy_allowance_points
    )


def _form(candidate: Measurements, reference: Measurements, limits: Limits) -> list[Miss]:
    half = candidate.precision == "fp16"
    convs = candidate.convs
    # With layers left float a file must still be smaller than in half precision.
    limit = limits.max_weight_ratio if convs.int8_convs == convs.convs else limits.max_mixed_weight_ratio
    limit = limits.max_fp16_weight_ratio if half else limit
    ratio = candidate.weight_bytes / max(reference.weight_bytes, 1)
    found = [Miss("size of the weights to float's", limit, ratio, "ratio")] if ratio > limit else []
    if not half and convs.int8_convs < limits.min_integer_convs * convs.convs:
        measured = convs.int8_convs / convs.convs
        found.append(Miss("integer convolutions", limits.min_integer_convs, measured, "fraction", at_least=True))
    return found


def _quality(
    candidate: Measurements, reference: Measurements, truth: LabelledFaces | ValuedFaces | None, limits: Limits
) -> list[Miss]:
    if truth is None:
        same, limit = candidate.score.agreement, limits.min_golden_agreement
        kept = same >= limit and candidate.is_correlated  # asks for what is good, so that NaN fails
        return [] if kept else [Miss("agreement on golden inputs", limit, same, "fraction", at_least=True)]
    return list(quality_misses(losses(reference.outputs, candidate.outputs, truth), len(truth), limits))


def quality_misses(found: Sequence[Loss], n: int, limits: Limits) -> tuple[Miss, ...]:
    """The limits that losses measured on `n` faces miss, or leave open."""
    allowed = {
        "agreement": (1 - limits.min_agreement, limits.agreement_allowance),
        "accuracy": (limits.max_accuracy_drop_points / 100, limits.accuracy_allowance_points / 100),
        "CCC": (limits.max_accuracy_drop_points / 100, limits.accuracy_allowance_points / 100),
        "macro-F1": (limits.max_macro_f1_drop_points / 100, limits.macro_f1_allowance_points / 100),
    }
    judged = (_judged(loss, *allowed[loss.name], n) for loss in found)
    return tuple(miss for miss in judged if miss is not None)


def _judged(loss: Loss, limit: float, allowance: float, n: int) -> Miss | None:
    """None where a loss, a fraction, is within its limit beyond doubt."""

    def state(interval: Interval) -> str:
        if interval.measured <= limit + 1e-9 and interval.high <= limit + allowance + 1e-9:
            return "pass"
        # Asks for what is good, so that NaN fails.
        return "too few" if interval.low <= limit else "fail"

    found = state(loss.interval)
    if found == "pass":
        return None
    decided = found == "fail" or not math.isfinite(loss.interval.measured)
    needed = None if decided else _needed(loss.at, state, n)
    if loss.name == "agreement":
        interval = Interval(1 - loss.interval.measured, 1 - loss.interval.high, 1 - loss.interval.low)
        return Miss("agreement", 1 - limit, interval.measured, "fraction", True, interval, decided, needed)
    return Miss(
        f"{loss.name} drop", 100 * limit, 100 * loss.interval.measured, "points", False, loss.in_points, decided, needed
    )


def _needed(at: Callable[[float], Interval], state: Callable[[Interval], str], n: int) -> int | None:
    return faces_needed(lambda count: state(at(count)) != "too few", n)


def _speed(speed: Interval, candidate: Measurements, limits: Limits, target: Target) -> list[Miss]:
    """Slower than float beyond the noise of the measurement."""
    limit = limits.max_fp16_speed_ratio if candidate.precision == "fp16" else limits.max_speed_ratio
    if speed.measured <= limit or speed.low <= limit:
        return []
    name = "time to float's on this machine" if target.speed == "time" else f"instructions to float's on {target.cpu}"
    return [Miss(name, limit, speed.measured, "ratio", interval=speed if target.speed == "time" else None)]
