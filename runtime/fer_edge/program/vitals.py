"""How the program itself fares, for the sinks that show it."""

from dataclasses import dataclass, field

from fer_edge.board import BoardState


@dataclass(frozen=True)
class Vitals:
    """`fps` is the processed rate; `effort_level` 0 is full effort, each step up detects less.

    `lost` counts results by sink that failed to take them, `unusable_outputs` the faces the model gave no usable output
    for.
    """

    fps: float
    rate_limit_fps: float | None
    effort_level: int
    board: BoardState
    detector_failures: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    unusable_outputs: int = 0
