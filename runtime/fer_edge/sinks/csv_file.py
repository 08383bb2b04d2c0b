"""CSV: one row a face. The columns are those of COLUMNS, then p_<label> for every label of the model: its probability,
or for a task of values that value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from fer_edge.frames import Face, Frame, FrameResult
from fer_edge.sinks.lines import LineFile

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


class CsvSink:
    """Writes a .csv file: the header at once, then whole rows, flushed. An existing file is replaced.

    `labels` are the model's, in the order of its output. `face` counts from 0 within a frame; a frame without faces has
    no row.
    """

    def __init__(self, path: Path, labels: tuple[str, ...]) -> None:
        self.path = path
        self.name = f"csv {path}"
        self._labels = labels
        self._file: LineFile | None = None

    def __enter__(self) -> CsvSink:
        """Open the file and write its header. Raises UsageError."""
        self._file = LineFile(self.path)
        self._file.write(_row([*COLUMNS, *(f"p_{label}" for label in self._labels)]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append the frame's faces. Raises OSError when the disk refuses, ValueError for another model's labels."""
        assert self._file is not None, "enter the sink before writing"
        if result.labels != self._labels:
            raise ValueError(f"labels {', '.join(result.labels)}, but the header has {', '.join(self._labels)}")
        rows = (_row(_values(result, number, face)) for number, face in enumerate(result.faces))
        self._file.write("".join(rows))


def _values(result: FrameResult, number: int, face: Face) -> list[object]:
    box = face.box
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
