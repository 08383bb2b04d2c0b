"""`fer-edge bench`: what this board does, in CSV. Nothing but the runtime is needed; no picture, no dataset.

A cold start is measured in a process of its own.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from fer_edge.arguments import ArgumentParser, detect_when, file_path, positive, source_address, whole_number
from fer_edge.bench.measure import (
    Progress,
    bench_classifier,
    bench_pipeline,
    measured_sink,
    now,
    repeated,
    shared_columns,
    source_name,
    statistics,
)
from fer_edge.bench.rows import BenchRow, write_rows
from fer_edge.board import board_state
from fer_edge.classifier import Classifier
from fer_edge.detectors import DETECTORS
from fer_edge.engines import MOST_THREADS
from fer_edge.errors import UsageError, last_line
from fer_edge.files import sha256_of
from fer_edge.options import load
from fer_edge.pipeline import Pipeline
from fer_edge.program.parts import make_pipeline
from fer_edge.settings import Settings

_TIMEOUT_S = 120
_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class BenchOptions:
    """Options of a measurement, from the command line. `settings` are those the program would run with."""

    settings: Settings
    source: str | None
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    cold_starts: int
    sustained_min: int
    dataset: Path | None
    split: str
    n: int
    warmup: int
    out: Path


def run_bench(words: list[str], description: str) -> None:
    """Parse, measure, print and write. Raises FerEdgeError."""
    options = _options(words, description)
    rows = [row for threads in options.threads for row in _rows(options, threads)]
    if options.cold_starts:
        rows.append(_cold_start(options))
    write_rows(options.out, rows)
    print_rows(rows)
    print_providers(Classifier(options.settings.model.file))
    print(options.out)
    if options.sustained_min:
        _sustained(options)


def _options(words: list[str], description: str) -> BenchOptions:
    parser = ArgumentParser(prog="fer-edge bench", description=description)
    parser.set_defaults(config=None)
    add = parser.add_argument
    add(
        "--source",
        type=source_address,
        metavar="WHAT",
        help="video, photo or folder for the whole loop; without it the classifier alone",
    )
    add_setting = partial(add, default=argparse.SUPPRESS)
    help = ".tflite or .onnx with a contract"
    add_setting("--model", dest="model.file", type=file_path, metavar="FILE", help=help)
    add_setting("--detector", dest="detection.detector", choices=DETECTORS)
    help = "a local copy of the detector's file"
    add_setting("--detector-file", dest="detection.file", type=file_path, metavar="FILE", help=help)
    help = "look at the whole picture each N-th frame, as the flag of the program"
    add_setting("--detect", dest="detection.when", type=detect_when, metavar="N|on-motion", help=help)
    add(
        "--threads",
        type=whole_number(1, MOST_THREADS),
        nargs="+",
        default=[1],
        metavar="N",
        help="threads of each engine (default 1)",
    )
    add("--batch", type=whole_number(1, 1024), nargs="+", default=[1], metavar="N", help="faces a call (default 1)")
    add("--cold-start", type=positive, default=0, metavar="N", help="also measure N starts of the program")
    add("--all", action="store_true", help="threads 1 to the number of cores, batches 1 2 4 8, five cold starts")
    add("--sustained", type=positive, default=0, metavar="MIN", help="then run without a pause for so many minutes")
    add("--dataset", type=file_path, metavar="FACES", help="labelled faces (folder or .npz) for accuracy on this board")
    add("--split", default="PublicTest", help="split of an .npz (default PublicTest)")
    add("-n", type=positive, default=200, help="measured repetitions (default 200)")
    add("--warmup", type=positive, default=20, help="repetitions before, not counted (default 20)")
    add("--out", type=file_path, default=Path("bench.csv"), help="CSV to write (default bench.csv)")
    given = parser.parse_args(words)
    settings = load(given).settings
    cores = tuple(range(1, min(os.cpu_count() or 1, MOST_THREADS) + 1))
    return BenchOptions(
        settings=settings,
        source=given.source,
        threads=cores if given.all else tuple(given.threads),
        batches=_BATCHES if given.all else tuple(given.batch),
        cold_starts=5 if given.all and not given.cold_start else given.cold_start,
        sustained_min=given.sustained,
        dataset=given.dataset,
        split=given.split,
        n=given.n,
        warmup=given.warmup,
        out=given.out,
    )


def _rows(options: BenchOptions, threads: int) -> list[BenchRow]:
    """The classifier at every batch, then the whole loop where there is a source."""
    classifier = Classifier(options.settings.model.file, threads=threads)
    measured: dict[str, Any] = {"n": options.n, "warmup": options.warmup, "threads": threads}
    rows = [bench_classifier(classifier, batch=batch, **measured) for batch in options.batches]
    if options.dataset is not None and threads == options.threads[0]:
        from fer_edge.bench.accuracy import with_accuracy

        rows[0] = with_accuracy(rows[0], classifier, options.dataset, options.split)
    if options.source is not None:
        from fer_edge.sources import open_source

        pipeline = _pipeline(options, classifier, threads)
        with open_source(options.source) as source, measured_sink() as sink:
            frames = repeated(list(source)) if source.frame_count == 1 else source
            rows += bench_pipeline(frames, pipeline, sink, **measured)
    return rows


def _pipeline(options: BenchOptions, classifier: Classifier, threads: int) -> Pipeline:
    """The program's own, with its detector, its smoothing and its way to follow faces."""
    settings = options.settings
    return make_pipeline(
        dataclasses.replace(settings, model=dataclasses.replace(settings.model, threads=threads)), classifier
    )


def _cold_start(options: BenchOptions) -> BenchRow:

    threads, detection = options.threads[0], options.settings.detection
    classifier = Classifier(options.settings.model.file, threads=threads)
    return bench_cold_start(classifier, detection.detector, detection.file, n=options.cold_starts, threads=threads)


def _sustained(options: BenchOptions) -> None:
    """The whole loop where there is a source, else the classifier; its rows stand in OUT.sustained.csv."""
    from fer_edge.bench.sustained import SustainedWork, bench_sustained, slowdown, write_sustained

    threads = options.threads[-1]
    classifier = Classifier(options.settings.model.file, threads=threads)
    call, name = _endless_work(options, classifier, threads)
    work = SustainedWork(call, name, classifier.path.name, sha256_of(classifier.path), threads)
    rows = bench_sustained(work, options.sustained_min)
    path = options.out.with_suffix(".sustained.csv")
    write_sustained(path, rows)
    for row in rows:
        heat = f"{row.temp_max_c:5.1f} C" if row.temp_max_c is not None else "no thermometer"
        print(f"minute {row.minute:3}  p50 {row.p50_ms:8.2f} ms  {row.fps:7.1f} a second  {heat}")
    print(f"last minute / first minute: {slowdown(rows):.3f}\n{path}")


def _endless_work(options: BenchOptions, classifier: Classifier, threads: int) -> tuple[Callable[[], object], str]:
    import numpy as np

    if options.source is None:
        size = (classifier.contract.input.height_px, classifier.contract.input.width_px)
        face = np.random.default_rng(0).integers(0, 256, (1, *size), dtype=np.uint8)
        return lambda: classifier.classify(face), "classify"
    from fer_edge.sources import open_source

    pipeline = _pipeline(options, classifier, threads)
    with open_source(options.source) as source:
        frames = cycle([frame for frame, _ in zip(source, range(options.n), strict=False)])
    return lambda: pipeline.process(next(frames)), f"total, {source_name(options.source)}"


def print_rows(rows: list[BenchRow]) -> None:
    """A line a row, for a terminal."""
    print(f"{'stage':12}{'threads':>8}  {'source':24}{'p50':>9}{'p90':>9}{'p95':>9}{'p99':>9}  ms")
    for row in rows:
        times = f"{row.p50_ms:9.2f}{row.p90_ms:9.2f}{row.p95_ms:9.2f}{row.p99_ms:9.2f}"
        print(f"{row.stage:12}{row.threads:8}  {row.source or '':24}{times}")
        if row.accuracy is not None and row.macro_f1 is not None and row.ece is not None:
            print(f"  {row.dataset} {row.split}: {row.accuracy:.2%}, macro-F1 {row.macro_f1:.2%}, ECE {row.ece:.3f}")


def print_providers(classifier: Classifier) -> None:
    """Which of onnxruntime's providers ran how many nodes; nothing for another engine."""
    if classifier.engine.name != "onnxruntime":
        return
    from fer_edge.engines.providers import nodes_by_provider

    counts = nodes_by_provider(classifier.path)
    print("nodes run by " + ", ".join(f"{provider}: {count}" for provider, count in sorted(counts.items())))


def bench_cold_start(
    classifier: Classifier,
    detector: str,
    detector_file: Path | None,
    *,
    n: int = 5,
    threads: int = 1,
    progress: Progress = iter,
) -> BenchRow:
    """A row with stage `cold_start` over `n` starts; `rss_mb` is the largest any of them had. No warm-up.

    Raises UsageError when the program does not start.
    """
    started, times_ms, rss_mb = now(), [], []
    command = [sys.executable, "-m", "fer_edge.bench.command", str(classifier.path), str(threads), detector]
    command += [str(detector_file)] if detector_file else []
    for _ in progress(range(n)):
        before = time.perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        times_ms.append((time.perf_counter() - before) * 1e3)
        if finished.returncode != 0:
            raise UsageError(f"cold start failed: {last_line(finished.stderr)}")
        rss_mb.append(float(finished.stdout))
    columns = {**shared_columns(classifier, threads, started, 0, [board_state()]), **statistics(times_ms)}
    return BenchRow(stage="cold_start", **{**columns, "detector": detector, "rss_mb": max(rss_mb)})


def _one_start(model: str, threads: str, detector: str, detector_file: str | None = None) -> None:
    import numpy as np

    from fer_edge.detectors import open_detector
    from fer_edge.frames import Frame
    from fer_edge.pipeline import Pipeline

    file = Path(detector_file) if detector_file else None
    classifier = Classifier(Path(model), threads=int(threads))
    pipeline = Pipeline(open_detector(detector, file, threads=int(threads)), classifier)
    pipeline.process(Frame(np.full((480, 640, 3), 128, np.uint8), 0, 0.0, "cold start"))
    size = (classifier.contract.input.height_px, classifier.contract.input.width_px)
    classifier.logits(np.full((1, *size), 128, np.uint8))  # a constant crop, which some models have no output for
    print(board_state().rss_mb or 0.0)


if __name__ == "__main__":
    _one_start(*sys.argv[1:])
