"""The latency benchmark. It needs nothing but the runtime, so it runs on the board itself."""

from fer_edge.bench.measure import (
    Progress,
    bench_classifier,
    bench_pipeline,
    measured_sink,
    repeated,
    shared_columns,
    statistics,
)
from fer_edge.bench.rows import COLUMNS, BenchRow, read_rows, write_rows

__all__ = [
    "COLUMNS",
    "BenchRow",
    "Progress",
    "bench_classifier",
    "bench_pipeline",
    "measured_sink",
    "read_rows",
    "repeated",
    "shared_columns",
    "statistics",
    "write_rows",
]
