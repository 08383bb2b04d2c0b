"""A run of the camera program on the sample clip, repeated to the length asked for and read at its own pace.

Every one of its frames must come out everywhere.
"""

import asyncio
import csv
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from fer_edge import __version__
from fer_edge.board import board_info
from fer_edge.errors import DataError, UsageError
from fer_edge.sinks.track_events import TrackEvents

from boards.load import LoadRow
from boards.load.witnesses import TOPICS, Viewer, Watch, attend, mosquitto, subscribed

_LAST_WORD_S = 10.0


def measure_load(clip: Path, *, seconds: int, viewers: int, max_viewers: int) -> LoadRow:
    """Run the program on `seconds` of the clip. Raises UsageError without mosquitto or ffmpeg."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, frames = _repeated(clip, seconds, folder)
        web, metrics, broker = (_free_port() for _ in range(3))
        watch = Watch([Viewer() for _ in range(viewers)])
        words = ["--source", str(source), "--quiet", "--jsonl", str(folder / "faces.jsonl")]
        words += ["--csv", str(folder / "faces.csv"), "--save-video", str(folder / "faces.avi")]
        words += ["--web", str(web), "--web-viewers", str(max_viewers), "--metrics", str(metrics)]
        words += ["--mqtt", f"mqtt://127.0.0.1:{broker}", "--mqtt-topic", TOPICS.prefix]
        started_at, started_s = datetime.now(timezone.utc), time.monotonic()
        with mosquitto(broker), subscribed(broker, watch):
            program = subprocess.Popen([sys.executable, "-m", "fer_edge", *words])
            asyncio.run(attend(program, web, metrics, watch))
            exit_code = program.wait()
            duration_s = time.monotonic() - started_s
            watch.offline.wait(_LAST_WORD_S)  # which the program says behind its last event
        return _row(folder, frames, watch, max_viewers, duration_s, exit_code, started_at)


def _repeated(clip: Path, seconds: int, folder: Path) -> tuple[Path, int]:
    """The clip again and again, without decoding it, and how many frames that makes."""
    if shutil.which("ffmpeg") is None:
        raise UsageError("ffmpeg is needed to repeat the clip: apt install ffmpeg")
    capture = cv2.VideoCapture(str(clip))
    length_s = capture.get(cv2.CAP_PROP_FRAME_COUNT) / max(capture.get(cv2.CAP_PROP_FPS), 1)
    times = max(int(seconds // max(length_s, 1)), 0)
    target = folder / "source.mp4"
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(times), "-i", str(clip), "-t", str(seconds)]
    done = subprocess.run([*command, "-an", "-c", "copy", str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        raise DataError(f"{clip}: ffmpeg cannot repeat it: {done.stderr.strip()}")
    return target, _frames_of(target)


def _frames_of(path: Path) -> int:
    """Frames that can be decoded, counted one by one."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _length_s(path: Path) -> float:
    """When the last frame of a recording begins."""
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return (_frames_of(path) - 1) / fps


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _row(
    folder: Path,
    frames: int,
    watch: Watch,
    max_viewers: int,
    duration_s: float,
    exit_code: int,
    started_at: datetime,
) -> LoadRow:
    results = [json.loads(line) for line in (folder / "faces.jsonl").read_text().splitlines()]
    totals_ms = [result["stage_ms"]["total"] for result in results]
    p50, p95, p99 = (float(np.percentile(totals_ms, q)) for q in (50, 95, 99))
    rates = [viewer.fps for viewer in watch.viewers if viewer.fps is not None]
    with open(folder / "faces.csv", newline="") as stream:
        csv_rows = sum(1 for _ in csv.reader(stream)) - 1
    return LoadRow(
        viewers_asked=len(watch.viewers),
        max_viewers=max_viewers,
        viewers_served=sum(viewer.pictures > 0 and viewer.events > 0 for viewer in watch.viewers),
        viewers_told_no_room=sum(viewer.told > 0 for viewer in watch.viewers),
        viewers_without_answer=sum(viewer.without_answer > 0 for viewer in watch.viewers),
        frames=frames,
        jsonl_lines=len(results),
        csv_rows_expected=sum(len(result["faces"]) for result in results),
        csv_rows=csv_rows,
        source_s=results[-1]["time_s"],
        recorded_s=_length_s(folder / "faces.avi"),
        events_expected=_events_in(results),
        events_received=watch.events,
        scrapes=watch.scrapes,
        scrapes_failed=watch.scrapes_failed + max(watch.unanswered - 1, 0),
        results_lost=watch.lost,
        pictures_fps=statistics.median(rates) if rates else None,
        total_p50_ms=p50,
        total_p95_ms=p95,
        total_p99_ms=p99,
        cpu_percent=100 * watch.cpu_s / duration_s,
        rss_max_mb=max(watch.rss_mb, default=0.0),
        machine_load=statistics.median(watch.loads or [0.0]),
        duration_s=duration_s,
        exit_code=exit_code,
        cpu=board_info().cpu,
        fer_edge_version=__version__,
        started_at=started_at.isoformat(timespec="seconds"),
    )


def _events_in(results: Sequence[dict[str, Any]]) -> int:
    """How many events the frames of a JSONL file make."""
    events, count = TrackEvents(), 0
    for result in results:
        faces = tuple(SimpleNamespace(**face) for face in result["faces"])
        frame = SimpleNamespace(faces=faces, captured_at_s=result["time_s"], frame_index=result["frame_index"])
        count += len(events.of(frame))  # type: ignore[arg-type]  # it looks at no more of a result
    return count
