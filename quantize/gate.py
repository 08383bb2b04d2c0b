"""The gate: the limits an INT8 model must keep before it gets its final name."""

from dataclasses import dataclass

from fer_edge.errors import UsageError

from quantize.recipes import Target
from quantize.report import Candidate

PASSED, REFERENCE, FAILED = "pass", "reference", "fail: "


@dataclass(frozen=True)
class Limits:
    """What is asked of an INT8 model, measured against its float model.

    Accuracy and macro-F1 may fall by so many points (1 point = 1 %). The ratios of time, on an x86 target, and of
    instructions, on an Arm one, are to the float model of the same engine. For a task of values agreement is the CCC of
    the two models, and a hundredth of CCC with the truth is a point, held to the limit of accuracy.
    """

    max_accuracy_drop_points: float = 0.3
    max_macro_f1_drop_points: float = 0.5
    min_agreement: float = 0.98
    max_size_ratio: float = 0.35
    max_speed_ratio: float = 1.0
    min_integer_convs: float = 0.5
    min_golden_agreement: float = 0.8


def limits_for(max_drop_points: float | None) -> Limits:
    """The usual limits, or those where accuracy may fall by `max_drop_points`, and macro-F1 by 0.2 points more.

    Raises UsageError unless it is from 0 to 100.
    """
    if max_drop_points is None:
        return Limits()
    if not 0 <= max_drop_points <= 100:
        raise UsageError(f"--max-drop {max_drop_points:g}: expected points of accuracy, 0 to 100.")
    return Limits(max_accuracy_drop_points=max_drop_points, max_macro_f1_drop_points=max_drop_points + 0.2)


def verdict(candidate: Candidate, reference: Candidate, limits: Limits, target: Target) -> str:
    """`pass`, or `fail: ` with every limit that is missed and the figure that misses it.

    Without labelled faces only a loose floor can be held: the synthetic golden inputs are not what a board will see,
    and many of them are near ties, but a model that disagrees on a fifth of them is broken.
    """
    reasons = [*_form(candidate, limits), *_quality(candidate, reference, limits)]
    measured, missed = _speed(candidate, limits, target)
    reasons += missed
    if reasons:
        return FAILED + "; ".join(reasons)
    unmeasured = [] if _drops(candidate, reference, limits) else ["accuracy not measured"]
    unmeasured += [] if measured else [f"speed on {target.cpu or target.name} not measured"]
    return "; ".join((PASSED, *unmeasured))


def passed(text: str) -> bool:
    """Whether a verdict lets the model through."""
    return text.split(";")[0] == PASSED


def misses(text: str) -> int:
    """How many limits a verdict names as missed."""
    return 0 if passed(text) else 1 + text.count("; ")


def _form(candidate: Candidate, limits: Limits) -> list[str]:
    reasons = []
    if candidate.size_ratio > limits.max_size_ratio:
        reasons.append(f"size ratio {candidate.size_ratio:.3f} above {limits.max_size_ratio}")
    if candidate.int8_convs < limits.min_integer_convs * candidate.convs:
        reasons.append(
            f"{candidate.int8_convs} of {candidate.convs} convolutions are integer, "
            f"expected {limits.min_integer_convs:.0%} or more"
        )
    return reasons


# Every comparison below asks for what is good, so that a figure that is no number (NaN) fails.
def _quality(candidate: Candidate, reference: Candidate, limits: Limits) -> list[str]:
    drops = _drops(candidate, reference, limits)
    if not drops:
        if not candidate.agreement >= limits.min_golden_agreement:
            return [f"agreement {candidate.agreement:.0%} on golden inputs below {limits.min_golden_agreement:.0%}"]
        return []
    reasons = []
    if not candidate.agreement >= limits.min_agreement:
        reasons.append(f"agreement {candidate.agreement:.2%} below {limits.min_agreement:.0%}")
    reasons += [
        f"{name} drop {drop:.2f} points above {limit:g}" for name, drop, limit in drops if not drop <= limit + 1e-9
    ]
    return reasons


def _drops(candidate: Candidate, reference: Candidate, limits: Limits) -> list[tuple[str, float, float]]:
    """Points lost in what the task is judged by, and how many may be; empty where there was no truth."""
    figures = (
        ("accuracy", reference.accuracy, candidate.accuracy, limits.max_accuracy_drop_points),
        ("macro-F1", reference.macro_f1, candidate.macro_f1, limits.max_macro_f1_drop_points),
        ("CCC", reference.ccc, candidate.ccc, limits.max_accuracy_drop_points),
    )
    return [
        (name, 100 * (before - after), limit)
        for name, before, after, limit in figures
        if before is not None and after is not None
    ]


def _speed(candidate: Candidate, limits: Limits, target: Target) -> tuple[bool, list[str]]:
    """Whether the target's speed is known, and the limit that is missed."""
    ratio, what = {
        "time": (candidate.latency_ratio, "slower than float on this machine: time"),
        "instructions": (candidate.instruction_ratio, f"more work than float on {target.cpu}: instruction"),
        "none": (None, ""),
    }[target.speed]
    if ratio is None:
        return False, []
    return True, [
        f"{what} ratio {ratio:.2f} above {limits.max_speed_ratio:g}"
    ] if ratio > limits.max_speed_ratio else []
