"""JSON Lines: one object a frame. The keys are stable:

frame_index, time_s, source, width_px, height_px, faces, stage_ms, and for a live source unix_time_s. A face has box_px
[left, top, width, height], score, track_id, expression, confidence, probabilities {label: 0..1}; for a task of values,
such as valence-arousal, values {label: number} in their place, and expression names the nearest place on the scales.
stage_ms is {stage: milliseconds}.
"""

import json
from pathlib import Path

from fer_edge.frames import FrameResult
from fer_edge.sinks.line_file import LineFormat, LineOptions
from fer_edge.sinks.line_sink import LineSink


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


_FORMAT = LineFormat(start=b"{", is_whole=_is_whole)


class JsonlSink(LineSink):
    """Writes a .jsonl file, one whole line a frame, at once. See LineFile for what happens to an existing file."""

    def __init__(self, path: Path, options: LineOptions | None = None) -> None:
        super().__init__(path, "jsonl", _FORMAT, options)

    def lines(self, result: FrameResult) -> str:
        """The frame's object as one line."""
        return json.dumps(result.to_dict(), allow_nan=False) + "\n"
