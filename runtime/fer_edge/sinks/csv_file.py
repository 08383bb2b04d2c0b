"""CSV: one row a face. The columns are those of COLUMNS, then p_<label> for every label of the model: its probability,
or for a task of values that value.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from fer_edge.frames import Face, FrameResult
from fer_edge.sinks.line_file import LineFormat, LineOptions
from fer_edge.sinks.line_sink import LineSink

COLUMNS = (
    "frame_index",
    "time_s",
    "source",
    "face",
    "left_px",
    "top_px",
    "width_px",
    "height_px",
    "score",
    "track_id",
    "expression",
    "confidence",
)


class CsvSink(LineSink):
    """Writes a .csv file: the header at once, then whole rows, at once. See LineFile for an existing file.

    `labels` are the model's, in the order of its output. `face` counts from 0 within a frame; a frame without faces has
    no row.
    """

    def __init__(self, path: Path, labels: tuple[str, ...], options: LineOptions | None = None) -> None:
        head = _row([*COLUMNS, *(f"p_{label}" for label in labels)])
        line_format = LineFormat(head=head, start=head.encode(errors="backslashreplace"))
        super().__init__(path, "csv", line_format, options)
        self._labels = labels

    def lines(self, result: FrameResult) -> str:
        """The frame's faces. Raises ValueError for another model's labels."""
        if result.labels != self._labels:
            raise ValueError(f"labels {', '.join(result.labels)}, but the header has {', '.join(self._labels)}")
        return "".join(_row(_values(result, number, face)) for number, face in enumerate(result.faces))


def _values(result: FrameResult, number: int, face: Face) -> list[object]:
    box = face.box_px
    return [
        *(result.frame_index, round(result.captured_at_s, 6), result.source, number),
        *(round(float(edge), 2) for edge in (box.left_px, box.top_px, box.width_px, box.height_px)),
        *(round(float(face.score), 6), face.track_id, face.expression, round(float(face.confidence), 6)),
        *(round(float(value), 6) for value in face.probabilities),
    ]


def _row(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
