"""Latency: of the classifier alone, and of every stage of the whole loop."""

import dataclasses
import datetime
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bench.rows import BenchRow
from fer_edge.board import BoardState, board_info, board_state
from fer_edge.classifier import Classifier
from fer_edge.errors import UsageError
from fer_edge.files import sha256_of
from fer_edge.frames import STAGES, Frame
from fer_edge.pipeline import Pipeline
from fer_edge.redaction import redacted
from fer_edge.sinks import JsonlSink, Sink

Progress = Callable[[Iterable[Any]], Iterable[Any]]


def bench_classifier(
    classifier: Classifier,
    *,
    n: int = 200,
    warmup: int = 20,
    threads: int = 1,
    batch: int = 1,
    progress: Progress = iter,
) -> BenchRow:
    """Latency of a call of the classifier alone with `batch` faces of random pixels.

    With more than one face a call, `source` says "batch N"; the figures are those of the whole call.
    """
    started = now()
    size = (classifier.contract.input.height_px, classifier.contract.input.width_px)
    faces = np.random.default_rng(0).integers(0, 256, (16, batch, *size), dtype=np.uint8)
    states, times_ms = [board_state()], []
    for i in progress(range(warmup + n)):
        before = time.perf_counter()
        classifier.classify(faces[i % len(faces)])
        times_ms.append((time.perf_counter() - before) * 1e3)
    states.append(board_state())
    shared = shared_columns(classifier, threads, started, warmup, states)
    if batch > 1:
        shared["source"] = f"batch {batch}"
    return BenchRow(stage="classify", **shared, **statistics(times_ms[warmup:]))


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
    started, name = now(), ""
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
    shared = shared_columns(pipeline.classifier, threads, started, warmup, states)
    shared.update(detector=pipeline.detector.name, source=source_name(name))
    return [BenchRow(stage=stage, **shared, **statistics(values[warmup:])) for stage, values in laps.items() if values]


@contextmanager
def measured_sink() -> Iterator[Sink]:
    """The sink of a benchmark: JSON lines into a temporary file, the cheapest that really writes something."""
    with tempfile.TemporaryDirectory() as folder, JsonlSink(Path(folder) / "results.jsonl") as sink:
        yield sink


def repeated(frames: Sequence[Frame]) -> Iterable[Frame]:
    """The same frames over and over, so that decoding does not blur what is measured."""
    return itertools.cycle(frames)


def now() -> str:
    """The time, UTC, to the second (ISO 8601)."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def source_name(source: str) -> str:
    """Name of a source in rows: the name of a file without its folders, an address without its secrets."""
    return redacted(source) if "://" in source else Path(redacted(source)).name or source


def statistics(times_ms: Sequence[float]) -> dict[str, Any]:
    """The columns of BenchRow that describe latencies; `fps` is calls a second."""
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


def shared_columns(
    classifier: Classifier, threads: int, started: str, warmup: int, states: list[BoardState]
) -> dict[str, Any]:
    """The columns of BenchRow that say what was measured, on what, and in which state the board was."""
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
