"""JSON Lines: one object a frame. The keys are stable:

frame_index, time_s, source, width_px, height_px, faces, stage_ms, and for a live source unix_time_s. A face has box_px
[left, top, width, height], score, track_id, expression, confidence, probabilities {label: 0..1}; for a task of values,
such as valence-arousal, values {label: number} in their place, and expression names the nearest place on the scales.
stage_ms is {stage: milliseconds}.
"""

import json
from pathlib import Path
from typing import Any

from fer_edge.frames import Face, FrameResult
from fer_edge.sinks.lines import LineFormat, LineOptions, LineSink
from fer_edge.tasks import TASKS, VALUES


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


_FORMAT = LineFormat(start=b"{", is_whole=_is_whole)


class JsonlSink(LineSink):
    """Writes a .jsonl file, one whole line a frame, at once. See LineFile for what happens to an existing file."""

    def __init__(self, path: Path, options: LineOptions | None = None) -> None:
        super().__init__(path, "jsonl", _FORMAT, options)

    def lines(self, result: FrameResult) -> str:
        """The frame's object as one line."""
        return json.dumps(as_object(result), allow_nan=False) + "\n"


def as_object(result: FrameResult) -> dict[str, Any]:
    """The JSON object of a frame, rounded to what the figures are worth."""
    now = {} if result.unix_time_s is None else {"unix_time_s": round(result.unix_time_s, 3)}
    return {
        "frame_index": result.frame_index,
        "time_s": round(result.captured_at_s, 6),
        "source": result.source,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "faces": [_face(face, result) for face in result.faces],
        "stage_ms": {stage: round(value, 3) for stage, value in result.stage_ms.items()},
        **now,
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
