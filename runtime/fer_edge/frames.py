"""The values that travel through the runtime: frames in, faces and timings out."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fer_edge.tasks import LABELS, TASKS, VALUES, holding

if TYPE_CHECKING:
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

    @property
    def for_detection(self) -> NDArray[np.uint8]:
        """The smaller picture, where there is one."""
        return self.image_bgr if self.small_bgr is None else self.small_bgr


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the frame it was found in; it may reach over the frame's edge."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


@dataclass(frozen=True)
class Point:
    """A place in pixels of the frame."""

    x_px: float
    y_px: float


@dataclass(frozen=True)
class Keypoints:
    """Where the parts of a face are, in pixels of the frame; right and left are the person's own.

    `mouth` is its centre. `mouth_corners` are the right and the left one, None where the detector gives the centre
    alone.
    """

    right_eye: Point
    left_eye: Point
    nose: Point
    mouth: Point
    mouth_corners: tuple[Point, Point] | None = None

    @classmethod
    def of(cls, points: Sequence[Point]) -> Keypoints:
        """From eyes, nose and either the mouth's centre (4 points) or its corners (5), the right one first.

        Raises ValueError for another number of points.
        """
        if len(points) == 4:
            return cls(points[0], points[1], points[2], points[3])
        right_eye, left_eye, nose, right, left = points
        centre = Point((right.x_px + left.x_px) / 2, (right.y_px + left.y_px) / 2)
        return cls(right_eye, left_eye, nose, centre, (right, left))

    @property
    def points(self) -> tuple[Point, ...]:
        """Eyes, nose and mouth: the mouth's corners where they are known, else its centre."""
        return (self.right_eye, self.left_eye, self.nose, *(self.mouth_corners or (self.mouth,)))

    def mapped(self, scale: float, right_px: float = 0.0, down_px: float = 0.0) -> Keypoints:
        """All points multiplied by `scale`, then moved."""
        return Keypoints.of([Point(p.x_px * scale + right_px, p.y_px * scale + down_px) for p in self.points])


@dataclass(frozen=True)
class Detection:
    """A face a detector found, before anybody looked at its expression. `score` in [0, 1]."""

    box: Box
    score: float
    keypoints: Keypoints | None = None

    def enlarged(self, factor: float) -> Detection:
        """The same face in a picture `factor` times as large."""
        box = self.box
        edges = (edge * factor for edge in (box.left_px, box.top_px, box.width_px, box.height_px))
        return Detection(Box(*edges), self.score, self.keypoints.mapped(factor) if self.keypoints else None)


@dataclass(frozen=True)
class Face:
    """A face with its expression.

    `box_px` is where it is and `score` in [0, 1] how sure the detector was. `probabilities` follow `labels`, the
    model's; `track_id` stays the same from frame to frame. `confidence` is the probability of the named expression,
    which is not always the greatest: a label stays until another is clearly more likely. For a `task` of values
    `probabilities` are those values, `expression` is the task's name for them, and `confidence` how far from zero the
    greatest of them is.
    """

    box_px: Box
    score: float
    track_id: int
    expression: str
    confidence: float
    probabilities: tuple[float, ...]
    labels: tuple[str, ...]
    task: str = "expression7"

    @property
    def names(self) -> tuple[str, ...]:
        """Names counted for the face: its `expression`, or of a task of labels each one that holds."""
        return holding(self.probabilities, self.labels) if TASKS[self.task].kind == LABELS else (self.expression,)

    def to_dict(self) -> dict[str, Any]:
        """The face as it stands in a JSONL line, rounded to what the numbers are worth.

        box_px is [left, top, width, height]. A task of values has "values" in place of "probabilities".
        """
        box, numbers = self.box_px, "values" if TASKS[self.task].kind == VALUES else "probabilities"
        return {
            "box_px": [round(float(edge), 2) for edge in (box.left_px, box.top_px, box.width_px, box.height_px)],
            "score": round(float(self.score), 6),
            "track_id": self.track_id,
            "expression": self.expression,
            "confidence": round(float(self.confidence), 6),
            numbers: {label: round(float(p), 6) for label, p in zip(self.labels, self.probabilities, strict=True)},
        }

    def _repr_html_(self) -> str:
        """A table of labels and numbers, for notebooks."""
        return _html_table([self])


@dataclass(frozen=True)
class FrameResult:
    """Result of one frame. `stage_ms` maps a name of STAGES to the milliseconds it took.

    `unnamed` are faces that were found and not named: too many, too small, outside the regions of interest, or such
    that the model gave no usable output for them.
    `hidden` is where a face may be, found or not, now or a moment ago, and None where nothing is known of the frame and
    all of it has to be hidden; `fer_edge.hiding` says how. `detected` is false where nobody looked at the whole frame:
    its faces were followed from earlier frames, or predicted. `read_at_s` and `unix_time_s` are the
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
    hidden: tuple[Box, ...] | None = ()

    def to_dict(self) -> dict[str, Any]:
        """The frame as one line of JSONL holds it; `fer_edge.sinks.jsonl` lists the keys."""
        now = {} if self.unix_time_s is None else {"unix_time_s": round(self.unix_time_s, 3)}
        return {
            "frame_index": self.frame_index,
            "time_s": round(self.captured_at_s, 6),
            "source": self.source,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "faces": [face.to_dict() for face in self.faces],
            "stage_ms": {stage: round(value, 3) for stage, value in self.stage_ms.items()},
            **now,
        }

    def _repr_html_(self) -> str:
        """A table of the faces, for notebooks."""
        return _html_table(self.faces) if self.faces else "<p>no faces</p>"


def _html_table(faces: Sequence[Face]) -> str:
    """Faces as rows, the numbers of their labels as columns."""
    head = "".join(f"<th>{html.escape(label)}</th>" for label in ("face", "expression", *faces[0].labels))
    rows = "".join(
        f"<tr><td>{face.track_id}</td><td><b>{html.escape(face.expression)}</b></td>"
        + "".join(f"<td>{value:.2f}</td>" for value in face.probabilities)
        + "</tr>"
        for face in faces
    )
    return f"<table><tr>{head}</tr>{rows}</table>"
