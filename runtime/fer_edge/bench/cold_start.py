"""How long it takes from nothing to the first result: a new process each time, with the files in the page cache.

Run as a program, it opens detector and classifier, looks at one picture, and prints its memory.
"""

import subprocess
import sys
import time
from pathlib import Path

from fer_edge.bench.measure import Progress, now, shared_columns, statistics
from fer_edge.bench.rows import BenchRow
from fer_edge.board import board_state
from fer_edge.classifier import Classifier
from fer_edge.errors import UsageError, last_line

_TIMEOUT_S = 120


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
    command = [sys.executable, "-m", "fer_edge.bench.cold_start", str(classifier.path), str(threads), detector]
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
