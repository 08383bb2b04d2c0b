"""The values that travel through the runtime: frames in, faces and timings out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STAGES = ("capture", "detect", "track", "crop", "classify", "smooth", "sink", "total")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture from a source. image_bgr: (h, w, 3) uint8. `index` counts from 0 without gaps in what was read.

    `captured_at_s` is seconds from the start of the source: media time for a video file, elapsed time for a camera.
    """

    image_bgr: NDArray[np.uint8]
    index: int
    captured_at_s: float
    source: str


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the frame it was found in; it may reach over the frame's edge."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True)
class Detection:
    """A face a detector found, before anybody looked at its expression. `score` in [0, 1]."""

    box: Box
    score: float


@dataclass(frozen=True)
class Face:
    """A face with its expression. `probabilities` follow the model's labels; `track_id` is stable over frames.

    For a task of values the numbers in `probabilities` are those values, and `expression` is the task's name for them.
    """

    box: Box
    score: float
    track_id: int
    expression: str
    probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """Probability of the named expression; for a task of values, how far from the middle the face is."""
        return max(abs(value) for value in self.probabilities)


@dataclass(frozen=True)
class FrameResult:
    """What the runtime says of one frame. `stage_ms` maps a name of STAGES to the milliseconds it took.

    `unnamed` are faces that were found and not classified, because there were more than wanted. `task` is the
    contract's, which says what the faces' numbers mean (`fer_edge.tasks`).
    """

    frame_index: int
    captured_at_s: float
    source: str
    width_px: int
    height_px: int
    labels: tuple[str, ...]
    faces: tuple[Face, ...]
    stage_ms: dict[str, float] = field(default_factory=dict)
    unnamed: tuple[Box, ...] = ()
    task: str = "expression7"
