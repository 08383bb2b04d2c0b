"""The camera program under load: viewers, a broker, Prometheus, files and a recording at once, and what of it was lost.

Everything runs on this machine's loopback interface. `boards.load.run` has a run, `boards.load.run` those who
watch it, and here is the figure of a run: a row of docs/measured/load.csv.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.csv_tables import write_csv

# A recording is within two frames of the source's time; it may repeat or leave out frames for that.
_RECORDING_OFF_S = 0.15


@dataclass(frozen=True)
class LoadRow:
    """One run. Frames, rows and events are counted where they arrive; `pictures_fps` is of a viewer who was let in.

    `total_*_ms` is a frame's way through the program, from its JSONL; `cpu_percent` is of one core, over the run;
    `machine_load` is the median load average, which tells how much else the machine had to do.
    """

    viewers_asked: int
    max_viewers: int
    viewers_served: int
    viewers_told_no_room: int
    viewers_without_answer: int
    frames: int
    jsonl_lines: int
    csv_rows_expected: int
    csv_rows: int
    source_s: float
    recorded_s: float
    events_expected: int
    events_received: int
    scrapes: int
    scrapes_failed: int
    results_lost: int
    pictures_fps: float | None
    total_p50_ms: float
    total_p95_ms: float
    total_p99_ms: float
    cpu_percent: float
    rss_max_mb: float
    machine_load: float
    duration_s: float
    exit_code: int
    cpu: str
    fer_edge_version: str
    started_at: str

    @property
    def is_complete(self) -> bool:
        """Did everything arrive everywhere, and was every viewer answered?"""
        pairs = (self.csv_rows_expected, self.events_expected) == (self.csv_rows, self.events_received)
        failures = (self.results_lost, self.scrapes_failed, self.viewers_without_answer, self.exit_code)
        is_recorded = abs(self.recorded_s - self.source_s) <= _RECORDING_OFF_S
        return self.frames == self.jsonl_lines and pairs and is_recorded and not any(failures)


def write_load(path: Path, rows: Sequence[LoadRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, LoadRow, rows)


_TABLE = {
    "viewers asked": "viewers_asked",
    "served": "viewers_served",
    "told no room": "viewers_told_no_room",
    "frames": "frames",
    "in JSONL": "jsonl_lines",
    "seconds": "source_s",
    "recorded": "recorded_s",
    "events": "events_expected",
    "received": "events_received",
    "scrapes": "scrapes",
    "lost": "results_lost",
    "pictures/s": "pictures_fps",
    "p50, ms": "total_p50_ms",
    "p95": "total_p95_ms",
    "p99": "total_p99_ms",
    "CPU, %": "cpu_percent",
    "RSS, MB": "rss_max_mb",
    "load average": "machine_load",
}


def table(path: Path) -> str:
    """Markdown of the CSV that `write_load` wrote."""
    lines = ["| " + " | ".join(_TABLE) + " |", "|---" * len(_TABLE) + "|"]
    with open(path, newline="") as stream:
        for row in csv.DictReader(stream):
            cells = [f"{float(row[key]):.1f}" if "." in row[key] else row[key] for key in _TABLE.values()]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
