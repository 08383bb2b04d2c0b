"""The whole loop against the PyPI package fer, paired: the same frames, in turns, on one pinned core, in one run.

The figures go to docs/measured/loop.csv.
"""

import contextlib
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.board import board_info
from fer_edge.csv_tables import write_csv
from fer_edge.errors import DataError
from fer_edge.sources.ffmpeg import open_capture

from boards.workers import DEFAULT, OURS, PEER, SHAPE

WORKER = Path(__file__).parent / "workers.py"
RUNTIME = Path(__file__).parent.parent / "runtime"
# Frames before the next has its turn: enough that the caches are its own, few enough that all meet the same machine.
TURN_FRAMES = 10


@dataclass(frozen=True)
class LoopRow:
    """Latency of one contestant over the frames all were given. `times_peer` is the median of fer / its own, by frame;
    `times_peer_cpu_all` the same of all frames' processor time together, so that dear frames count as they cost.

    Milliseconds are what a clock shows, with whatever else the machine does; those with `cpu` count only while the
    process itself had a core; `min_ms` is the frame with one face that the machine disturbed least. `start` is from the
    first import to the first result.
    """

    contestant: str
    n: int
    frames_with_one_face: int
    min_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_p50_ms: float
    times_peer: float
    times_peer_cpu: float
    times_peer_cpu_all: float
    rss_mb: float
    start_s: float
    start_cpu_s: float
    installed_mb: float | None
    cpu: str
    python: str


class Contestant:
    """A worker process, pinned to one core."""

    def __init__(self, name: str, python: str, words: Sequence[str], core: int) -> None:
        self.name = name
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if name == PEER:
            environ.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, str(WORKER), name, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        self.start = self._answer()
        self.answers: list[dict[str, float]] = []

    def ask(self, frame: int) -> None:
        """Have it process one frame."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{frame}\n")
        self._process.stdin.flush()
        self.answers.append(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate("")

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DataError(f"{self.name}: the worker ended. Run {WORKER} by hand to see why.")
        answer: dict[str, float] = json.loads(line)
        return answer


def compare(clip: Path, peer_python: str, files: Sequence[Path], *, n: int, warmup: int, core: int) -> list[LoopRow]:
    """Rows of all contestants; `files` are the classifier as .onnx and YuNet, for those that use onnxruntime."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        path = Path(folder) / "frames"
        _frames(clip, n + warmup).tofile(path)
        pythons = {PEER: peer_python, **dict.fromkeys(OURS, sys.executable)}
        contestants = []
        for name, python in pythons.items():
            contestant = Contestant(name, python, [str(path), *map(str, files)], core)
            running.callback(contestant.close)
            contestants.append(contestant)
        for first in range(0, n + warmup, TURN_FRAMES):
            for contestant in contestants:
                for frame in range(first, min(first + TURN_FRAMES, n + warmup)):
                    contestant.ask(frame)
        peer = contestants[0].answers[warmup:]
        size_mb = installed_mb()
        return [_row(contestant, contestant.answers[warmup:], peer, size_mb) for contestant in contestants]


def _frames(clip: Path, count: int) -> NDArray[np.uint8]:
    """Frames of the clip that fill 640x480, the left edge cut off, (n, 480, 640, 3) uint8."""
    capture = open_capture(clip, str(clip))
    images = []
    while len(images) < count and (found := capture.read())[0]:
        images.append(_filled(np.asarray(found[1], dtype=np.uint8)))
    if len(images) < count:
        raise DataError(f"{clip}: {len(images)} frames, expected {count}. Ask for fewer with -n.")
    return np.stack(images)


def _filled(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The right part of a wide picture, as large as it fits: that is where the sample clip's face is."""
    height, width = SHAPE[:2]
    scale = height / image.shape[0]
    large = cv2.resize(image, (round(image.shape[1] * scale), height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[:, -width:], dtype=np.uint8)


def _row(
    contestant: Contestant, answers: list[dict[str, float]], peer: list[dict[str, float]], size_mb: float | None
) -> LoopRow:
    times = [answer["ms"] for answer in answers]
    p50, p95, p99 = (float(np.percentile(times, q)) for q in (50, 95, 99))

    def ratio(key: str) -> float:
        return statistics.median(theirs[key] / max(one[key], 1e-3) for theirs, one in zip(peer, answers, strict=True))

    return LoopRow(
        contestant=contestant.name,
        n=len(answers),
        frames_with_one_face=sum(answer["faces"] == 1 for answer in answers),
        min_ms=min(answer["ms"] for answer in answers if answer["faces"] == 1),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        cpu_p50_ms=statistics.median(answer["cpu_ms"] for answer in answers),
        times_peer=ratio("ms"),
        times_peer_cpu=ratio("cpu_ms"),
        times_peer_cpu_all=sum(one["cpu_ms"] for one in peer) / max(sum(one["cpu_ms"] for one in answers), 1e-3),
        rss_mb=answers[-1]["rss_mb"],
        start_s=contestant.start["start_s"],
        start_cpu_s=contestant.start["start_cpu_s"],
        installed_mb=size_mb if contestant.name == DEFAULT else None,
        cpu=board_info().cpu,
        python=platform.python_version(),
    )


def installed_mb() -> float:
    """Size of an environment with the runtime and its three dependencies, pip itself left out."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder) / "bin/python"), "-m", "pip"]
        before = _size_mb(Path(folder))
        subprocess.run([*pip, "install", "--quiet", "--no-compile", str(RUNTIME)], check=True, capture_output=True)
        return _size_mb(Path(folder)) - before


def _size_mb(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def write_loop(path: Path, rows: Sequence[LoopRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, LoopRow, rows)


def table(path: Path) -> str:
    """Markdown of the CSV that `write_loop` wrote."""
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    heads = ["", "p50 of processor time, ms", "times fer, median frame", "times fer, all frames", "RSS, MB"]
    made = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["contestant"], f"{float(row['cpu_p50_ms']):.1f}", f"{float(row['times_peer_cpu']):.1f}"]
        cells.append(f"{float(row['times_peer_cpu_all']):.1f}")
        made.append("| " + " | ".join([*cells, f"{float(row['rss_mb']):.0f}"]) + " |")
    return "\n".join(made)


def lines(rows: Sequence[LoopRow]) -> Iterator[str]:
    """The figures for the terminal."""
    times = f"{'min':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'cpu p50':>9} ms"
    yield f"{'contestant':22}{times} {'x fer':>7}{'x cpu':>7}{'x all':>7} {'RSS MB':>7} {'start s':>8}"
    for row in rows:
        times = f"{row.min_ms:8.2f}{row.p50_ms:8.2f}{row.p95_ms:8.2f}{row.p99_ms:8.2f}{row.cpu_p50_ms:9.2f}"
        size = "" if row.installed_mb is None else f"  {row.installed_mb:.0f} MB installed"
        ratios = f"{row.times_peer:7.1f}{row.times_peer_cpu:7.1f}{row.times_peer_cpu_all:7.1f}"
        yield f"{row.contestant:22}{times}    {ratios} {row.rss_mb:7.0f} {row.start_s:8.2f}{size}"
