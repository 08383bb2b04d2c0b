"""The values that travel through the runtime: frames in, faces and timings out."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STAGES = ("capture", "detect", "track", "crop", "classify", "smooth", "sink", "total")


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture from a source. image_bgr: (h, w, 3) uint8. `index` counts from 0 without gaps in what was read.

    `captured_at_s` is seconds from the start of the source: media time for a video file, elapsed time for a camera.
    `read_at_s` is when it was read, on the clock of time.monotonic(); `unix_time_s` the same on the wall's clock, None
    where the picture is not of now. `small_bgr` is the same picture smaller, (h, w, 3) uint8, where a camera gives
    both: detectors read that one.
    """

    image_bgr: NDArray[np.uint8]
    index: int
    captured_at_s: float
    source: str
    read_at_s: float = field(default_factory=time.monotonic)
    unix_time_s: float | None = None
    small_bgr: NDArray[np.uint8] | None = None


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

    `confidence` is the probability of the named expression, which is not always the greatest: a label stays until
    another is clearly more likely. For a task of values `probabilities` are those values, `expression` is the task's
    name for them, and `confidence` how far from zero the greatest of them is.
    """

    box: Box
    score: float
    track_id: int
    expression: str
    confidence: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class FrameResult:
    """What the runtime says of one frame. `stage_ms` maps a name of STAGES to the milliseconds it took.

    `unnamed` are faces that were found and not named: too many, too small, outside the regions of interest, or such
    that the model gave no usable output for them.
    `detected` is false where the boxes were predicted from earlier frames. `read_at_s` and `unix_time_s` are the
    frame's. `task` is the contract's, which says what the faces' numbers mean (`fer_edge.tasks`).
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
    detected: bool = True
    read_at_s: float = field(default_factory=time.monotonic)
    unix_time_s: float | None = None
    task: str = "expression7"
