"""A run of the camera program on the sample clip, repeated to the length asked for and read at its own pace.

Every one of its frames must come out everywhere.
"""

import asyncio
import contextlib
import csv
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from fer_edge import __version__
from fer_edge.board import board_info
from fer_edge.errors import DataError, UsageError
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.sinks.track_events import TrackEvents

from boards.load import LoadRow

TOPICS = Topics("load")
_SCRAPE_S = 5.0
_RETRY_S = 10.0
_START_S = 120.0


@dataclass
class Viewer:
    """Experience of one viewer: the page's two streams, as a browser opens them."""

    pictures: int = 0
    first_s: float | None = None
    last_s: float = 0.0
    events: int = 0
    told: int = 0
    without_answer: int = 0

    @property
    def fps(self) -> float | None:
        """Pictures a second while it was served."""
        if self.first_s is None or self.last_s - self.first_s < 1:
            return None
        return (self.pictures - 1) / (self.last_s - self.first_s)


@dataclass
class Watch:
    """Observations of the program while it ran."""

    viewers: list[Viewer]
    events: int = 0
    scrapes: int = 0
    scrapes_failed: int = 0
    unanswered: int = 0
    lost: int = 0
    rss_mb: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    loads: list[float] = field(default_factory=list)
    offline: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def mosquitto(port: int) -> Iterator[None]:
    """Run a broker. Raises UsageError without mosquitto."""
    command = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if command is None:
        raise UsageError("mosquitto is needed as a broker: apt install mosquitto")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([command, "-p", str(port)], **quiet) as broker:  # type: ignore[call-overload]
        try:
            yield
        finally:
            broker.terminate()


@contextlib.contextmanager
def subscribed(port: int, watch: Watch) -> Iterator[None]:
    """Count the events that arrive, from before the program starts."""
    from paho.mqtt.client import Client, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion

    heard = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *rest: client.subscribe(f"{TOPICS.prefix}/#", qos=1)
    client.on_subscribe = lambda *rest: heard.set()

    def count(client: Client, data: object, message: MQTTMessage) -> None:
        watch.events += message.topic == TOPICS.events
        if message.payload == b"offline":
            watch.offline.set()

    client.on_message = count
    end_s = time.monotonic() + _START_S
    while True:
        try:
            client.connect("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise UsageError("the broker does not start.") from None
            time.sleep(0.05)
    client.loop_start()
    heard.wait(_START_S)
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


async def attend(program: subprocess.Popen[bytes], web: int, metrics: int, watch: Watch) -> None:
    """Look at the page, scrape the metrics and note the program's size until it ends."""
    await _listening(program, web)
    tasks = [
        asyncio.create_task(_view(web, path, one)) for one in watch.viewers for path in ("/events", "/stream.mjpg")
    ]
    next_s = time.monotonic()
    while program.poll() is None:
        _note_size(program.pid, watch)
        if time.monotonic() >= next_s:
            next_s += _SCRAPE_S
            await asyncio.to_thread(_scrape, metrics, watch)
        await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listening(program: subprocess.Popen[bytes], port: int) -> None:
    end_s = time.monotonic() + _START_S
    while program.poll() is None and time.monotonic() < end_s:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise UsageError("fer-edge does not start; what it said stands above.")


async def _view(port: int, path: str, viewer: Viewer) -> None:
    """One of a page's two streams, asked for again when there was no room."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if " 200 " in head:
                await (_take_events if path == "/events" else _take_pictures)(reader, viewer)
            elif " 503 " in head and "no more fit" in (await reader.read()).decode():
                viewer.told += 1
            else:
                viewer.without_answer += 1
            writer.close()
        except asyncio.IncompleteReadError:  # closed without a word, or at the end of the program
            viewer.without_answer += viewer.first_s is None and not viewer.events
        except ConnectionRefusedError:
            return
        await asyncio.sleep(_RETRY_S)


async def _take_events(reader: asyncio.StreamReader, viewer: Viewer) -> None:
    while await reader.readuntil(b"\n\n"):
        viewer.events += 1


async def _take_pictures(reader: asyncio.StreamReader, viewer: Viewer) -> None:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await reader.readexactly(length + 2)
        viewer.pictures += 1
        viewer.last_s = time.monotonic()
        viewer.first_s = viewer.first_s or viewer.last_s


def _scrape(port: int, watch: Watch) -> None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        watch.unanswered += 1
        return
    # The last one may meet a program that has closed its page and is about to end; those before it may not.
    watch.scrapes_failed += watch.unanswered
    watch.scrapes, watch.unanswered = watch.scrapes + 1, 0
    lost = [line for line in lines if line.startswith("fer_edge_lost_results_total")]
    watch.lost = max(watch.lost, int(sum(float(line.split()[-1]) for line in lost)))


def _note_size(pid: int, watch: Watch) -> None:
    watch.loads.append(os.getloadavg()[0])
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{pid}/status").read_text()
        watch.rss_mb.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        watch.cpu_s = (int(times[11]) + int(times[12])) / 100  # USER_HZ


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
