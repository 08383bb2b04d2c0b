"""JSON Lines: one object a frame. The keys are stable:

frame_index, time_s, source, width_px, height_px, faces, stage_ms. A face has box_px [left, top, width, height], score,
track_id, expression, confidence, probabilities {label: 0..1}; for a task of values, such as valence-arousal, values
{label: number} in their place, and expression names the nearest place on the scales. stage_ms is {stage: ms}.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from fer_edge.frames import Face, Frame, FrameResult
from fer_edge.sinks.lines import LineFile
from fer_edge.tasks import TASKS, VALUES


class JsonlSink:
    """Writes a .jsonl file, one whole line a frame, flushed. An existing file is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"jsonl {path}"
        self._file: LineFile | None = None

    def __enter__(self) -> JsonlSink:
        """Open the file. Raises UsageError."""
        self._file = LineFile(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append the result as one line. Raises OSError when it cannot be written."""
        assert self._file is not None, "enter the sink before writing"
        self._file.write(json.dumps(as_object(result), allow_nan=False) + "\n")


def as_object(result: FrameResult) -> dict[str, Any]:
    """The JSON object of a frame, rounded to what the figures are worth."""
    return {
        "frame_index": result.frame_index,
        "time_s": round(result.captured_at_s, 6),
        "source": result.source,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "faces": [_face(face, result) for face in result.faces],
        "stage_ms": {stage: round(value, 3) for stage, value in result.stage_ms.items()},
    }


def _face(face: Face, result: FrameResult) -> dict[str, Any]:
    box, numbers = face.box, "values" if TASKS[result.task].kind == VALUES else "probabilities"
    return {
        "box_px": [round(float(edge), 2) for edge in (box.left_px, box.top_px, box.width_px, box.height_px)],
        "score": round(float(face.score), 6),
        "track_id": face.track_id,
        "expression": face.expression,
        "confidence": round(float(face.confidence), 6),
        numbers: {label: round(float(p), 6) for label, p in zip(result.labels, face.probabilities, strict=True)},
    }
