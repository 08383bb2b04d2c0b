"""The benchmark's CSV: one row a stage, columns fixed by COLUMNS. What was not measured is empty, never estimated."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_edge import __version__
from fer_edge.csv_tables import columns_of, read_csv, write_csv
from fer_edge.errors import DataError


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One stage of one configuration. Field order is the column order of the CSV; None is written as nothing."""

    board: str
    os: str
    arch: str
    cpu: str
    runtime: str
    runtime_version: str
    model: str
    model_sha256: str
    precision: str
    detector: str | None = None
    threads: int
    source: str | None = None
    stage: str
    n: int
    warmup: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    rss_mb: float | None = None
    model_kb: float
    temp_max_c: float | None = None
    freq_min_mhz: float | None = None
    throttled: bool | None = None
    dataset: str | None = None
    split: str | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    ece: float | None = None
    fer_edge_version: str = __version__
    started_at: str


COLUMNS = columns_of(BenchRow)


def write_rows(path: Path, rows: Iterable[BenchRow]) -> None:
    """Write the CSV atomically. Floats carry four decimals."""
    write_csv(path, BenchRow, rows)


def read_rows(path: Path) -> list[BenchRow]:
    """Read a CSV that `write_rows` wrote. Raises DataError naming the file, the row and the column that is wrong."""
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make bench`.")
    return read_csv(path, BenchRow)
