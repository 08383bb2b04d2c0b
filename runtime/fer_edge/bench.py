"""The latency benchmark. It needs nothing but the runtime, so it runs on the board itself.

One CSV row a stage, columns fixed by COLUMNS. What was not measured is empty, never estimated.
"""

import csv
import dataclasses
import datetime
import itertools
import tempfile
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge import __version__
from fer_edge.board import BoardState, board_info, board_state
from fer_edge.classifier import Classifier
from fer_edge.errors import DataError, UsageError
from fer_edge.files import atomic_write, sha256_of
from fer_edge.frames import STAGES, Frame
from fer_edge.pipeline import Pipeline
from fer_edge.sinks import JsonlSink, Sink

Progress = Callable[[Iterable[Any]], Iterable[Any]]


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


COLUMNS = tuple(field.name for field in dataclasses.fields(BenchRow))


def bench_classifier(
    classifier: Classifier, *, n: int = 200, warmup: int = 20, threads: int = 1, progress: Progress = iter
) -> BenchRow:
    """Latency of the classifier alone, one face a call, on random pixels."""
    started = _now()
    size = (classifier.contract.input.height_px, classifier.contract.input.width_px)
    faces = np.random.default_rng(0).integers(0, 256, (16, 1, *size), dtype=np.uint8)
    states, times_ms = [board_state()], []
    for i in progress(range(warmup + n)):
        before = time.perf_counter()
        classifier.classify(faces[i % len(faces)])
        times_ms.append((time.perf_counter() - before) * 1e3)
    states.append(board_state())
    shared = _shared_columns(classifier, threads, started, warmup, states)
    return BenchRow(stage="classify", **shared, **_statistics(times_ms[warmup:]))


def bench_pipeline(
    source: Iterable[Frame],
    pipeline: Pipeline,
    sink: Sink,
    *,
    n: int = 200,
    warmup: int = 20,
    threads: int = 1,
    progress: Progress = iter,
) -> list[BenchRow]:
    """Latency of every stage over `warmup` + `n` frames of `source`, one row a stage in the order of STAGES.

    `total` is detect to sink; capture stands apart, because a live camera spends it waiting. Raises UsageError when the
    source ends during the warm-up.
    """
    started, name = _now(), ""
    laps: dict[str, list[float]] = {stage: [] for stage in STAGES}
    states = [board_state()]
    iterator = iter(source)
    for _ in progress(range(warmup + n)):
        before = time.perf_counter()
        frame = next(iterator, None)
        if frame is None:
            break
        name = frame.source
        captured = time.perf_counter()
        result = pipeline.process(frame)
        processed = time.perf_counter()
        sink.write(frame, result)
        done = time.perf_counter()
        measured = {**result.stage_ms, "capture": (captured - before) * 1e3, "sink": (done - processed) * 1e3}
        measured["total"] = (done - captured) * 1e3
        for stage, value in measured.items():
            laps[stage].append(value)
        if len(laps["total"]) % 30 == 0:
            states.append(board_state())
    if len(laps["total"]) <= warmup:
        raise UsageError(
            f"the source gave {len(laps['total'])} frames, expected more than the {warmup} of the warm-up."
        )
    states.append(board_state())
    shared = _shared_columns(pipeline.classifier, threads, started, warmup, states)
    shared.update(detector=pipeline.detector.name, source=Path(name).name or name)
    return [BenchRow(stage=stage, **shared, **_statistics(values[warmup:])) for stage, values in laps.items() if values]


@contextmanager
def measured_sink() -> Iterator[Sink]:
    """The sink of a benchmark: JSON lines into a temporary file, the cheapest that really writes something."""
    with tempfile.TemporaryDirectory() as folder, JsonlSink(Path(folder) / "results.jsonl") as sink:
        yield sink


def repeated(frames: Sequence[Frame]) -> Iterable[Frame]:
    """The same frames over and over, so that decoding does not blur what is measured."""
    return itertools.cycle(frames)


def write_rows(path: Path, rows: Iterable[BenchRow]) -> None:
    """Write the CSV atomically. Floats carry four decimals."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in dataclasses.asdict(row).items()} for row in rows)


def read_rows(path: Path) -> list[BenchRow]:
    """Read a CSV that `write_rows` wrote. Raises DataError naming the file, the row and the column that is wrong."""
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make bench`.")
    with open(path, newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            odd = set(COLUMNS) ^ set(reader.fieldnames or ())
            raise DataError(f"{path}: other columns than the benchmark's: {', '.join(sorted(odd)) or 'another order'}.")
        return [_parse_row(cells, f"{path}, row {number}") for number, cells in enumerate(reader, start=2)]


def _parse_row(cells: dict[str, str], where: str) -> BenchRow:
    hints = typing.get_type_hints(BenchRow)
    values: dict[str, Any] = {}
    for name, text in cells.items():
        kinds = [kind for kind in typing.get_args(hints[name]) or (hints[name],) if kind is not type(None)]
        optional = len(typing.get_args(hints[name])) > 0
        try:
            values[name] = None if text == "" and optional else _PARSERS[kinds[0]](text)
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{where}: {name} is {text!r}, expected {kinds[0].__name__}.") from None
    return BenchRow(**values)


_PARSERS: dict[type, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: {"True": True, "False": False}.__getitem__,
}


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else value


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _statistics(times_ms: list[float]) -> dict[str, Any]:
    p50, p90, p95, p99 = (float(value) for value in np.percentile(times_ms, [50, 90, 95, 99]))
    mean = float(np.mean(times_ms))
    return {
        "n": len(times_ms),
        "mean_ms": mean,
        "p50_ms": p50,
        "p90_ms": p90,
        "p95_ms": p95,
        "p99_ms": p99,
        "fps": 1e3 / max(mean, 1e-6),
    }


def _shared_columns(
    classifier: Classifier, threads: int, started: str, warmup: int, states: list[BoardState]
) -> dict[str, Any]:
    info, path = board_info(), classifier.path
    temperatures = [state.temp_c for state in states if state.temp_c is not None]
    frequencies = [state.freq_mhz for state in states if state.freq_mhz is not None]
    flags = [state.throttled for state in states if state.throttled is not None]
    return {
        **dataclasses.asdict(info),
        "runtime": classifier.engine.name,
        "runtime_version": classifier.engine.version,
        "model": path.name,
        "model_sha256": sha256_of(path),
        "precision": classifier.contract.precision,
        "threads": threads,
        "warmup": warmup,
        "rss_mb": states[-1].rss_mb,
        "model_kb": path.stat().st_size / 1024,
        "temp_max_c": max(temperatures, default=None),
        "freq_min_mhz": min(frequencies, default=None),
        "throttled": any(flags) if flags else None,
        "started_at": started,
    }
