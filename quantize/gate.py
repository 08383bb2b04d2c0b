"""The gate: the limits an INT8 model must keep before it gets its final name."""

from dataclasses import dataclass

from quantize.report import Candidate

PASSED, REFERENCE = "pass", "reference"


@dataclass(frozen=True)
class Limits:
    """What is asked of an INT8 model, measured against its float model.

    For a task of values, agreement is the CCC of the two models, and a hundredth of CCC with the truth is a point.
    """

    max_size_ratio: float = 0.35
    min_agreement: float = 0.98
    max_accuracy_loss_points: float = 0.5
    min_golden_agreement: float = 0.8
    all_integer: bool = True


def verdict(candidate: Candidate, reference: Candidate, limits: Limits) -> str:
    """`pass`, or `fail: ` with every limit that is missed and the figure that misses it.

    Without labelled faces only a loose floor can be held: the synthetic golden inputs are not what a board will see,
    and many of them are near ties, but a model that disagrees on a fifth of them is broken.
    """
    reasons = []
    if candidate.size_ratio > limits.max_size_ratio:
        reasons.append(f"size ratio {candidate.size_ratio:.3f} above {limits.max_size_ratio}")
    if limits.all_integer and candidate.int8_convs < candidate.convs:
        reasons.append(f"{candidate.int8_convs} of {candidate.convs} convolutions are integer, expected all")
    losses = _losses(candidate, reference)
    if losses:
        if candidate.agreement < limits.min_agreement:
            reasons.append(f"agreement {candidate.agreement:.2%} below {limits.min_agreement:.0%}")
        reasons += [
            f"{name} loss {loss_points:.2f} points above {limits.max_accuracy_loss_points}"
            for name, loss_points in losses.items()
            if loss_points > limits.max_accuracy_loss_points
        ]
    elif candidate.agreement < limits.min_golden_agreement:
        reasons.append(f"agreement {candidate.agreement:.0%} on golden inputs below {limits.min_golden_agreement:.0%}")
    return f"fail: {'; '.join(reasons)}" if reasons else PASSED


def _losses(candidate: Candidate, reference: Candidate) -> dict[str, float]:
    """Points lost against the float model in what the task is judged by; empty where there was no truth."""
    pairs = {"accuracy": (reference.accuracy, candidate.accuracy), "CCC": (reference.ccc, candidate.ccc)}
    return {name: 100 * (before - after) for name, (before, after) in pairs.items() if None not in (before, after)}
