"""Those who watch a run from outside: a subscriber of the broker, viewers of the page, and who scrapes the metrics."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fer_edge.errors import UsageError
from fer_edge.sinks.mqtt_topics import Topics

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
