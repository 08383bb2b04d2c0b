"""Left running: memory does not grow, no frame is lost or told twice, no thread is left behind.

A minute in `make test-all`; FER_EDGE_SOAK_S=1800 makes it half an hour.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import pytest

from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.servers import has_mosquitto, mosquitto

pytest.importorskip("microdot", reason="microdot is absent; the extra `web` brings it")
pytestmark = pytest.mark.usefixtures("mediapipe_file")

SECONDS = float(os.environ.get("FER_EDGE_SOAK_S", "60"))
FPS = 10
SAMPLE_S = 0.5
SCRIPT = (
    "import sys, threading; from fer_edge.cli import main; code = main(sys.argv[1:]);"
    "print('left:', [one.name for one in threading.enumerate() if one is not threading.main_thread()]); sys.exit(code)"
)


@pytest.fixture
def long_clip(clip: Path, tmp_path: Path) -> Path:
    """The sample clip over and over, smaller and slower, as long as the soak."""
    reader = cv2.VideoCapture(str(clip))
    images = []
    while (found := reader.read())[0]:
        images.append(cv2.resize(found[1], (320, 180), interpolation=cv2.INTER_AREA))
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 180))
    for number in range(int(SECONDS * FPS)):
        writer.write(images[number % len(images)])
    writer.release()
    return path


def rss_kb(pid: int) -> list[int]:
    """Resident memory; nothing once the process has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]


def watch(port: int, stop: threading.Event) -> None:
    """A viewer of the page's picture, from beginning to end."""
    while not stop.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/stream.mjpg")
            response = connection.getresponse()
            while not stop.is_set() and response.read(4096):
                pass
        except OSError:
            stop.wait(0.5)
        finally:
            connection.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 3 + 240)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_a_long_run_grows_by_less_than_one_percent_and_loses_nothing(long_clip, tmp_path):
    with contextlib.ExitStack() as servers:
        served = ["--metrics", "0"]
        if has_mosquitto():
            broker = free_port()
            servers.enter_context(mosquitto(broker))
            served += ["--mqtt", f"mqtt://127.0.0.1:{broker}"]
        run_and_check(long_clip, tmp_path, served)


def samples_until_it_ends(process: subprocess.Popen) -> list[int]:
    samples = []
    while process.poll() is None:
        samples += rss_kb(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SAMPLE_S)
    return samples


def run_and_check(long_clip: Path, tmp_path: Path, served: list[str]) -> None:
    port, out = free_port(), tmp_path / "out.jsonl"
    words = ["--jsonl", out, "--rotate-mb", "0.2", "--keep-files", "1000", "--csv", tmp_path / "out.csv", "--quiet"]
    command = [sys.executable, "-c", SCRIPT, "--source", long_clip, "--web", port, *words, *served]
    stop = threading.Event()
    viewer = threading.Thread(target=watch, args=(port, stop))
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        viewer.start()
        try:
            samples = samples_until_it_ends(process)
            printed, errors = process.communicate()
        finally:
            stop.set()
            viewer.join()
    assert process.returncode == 0, errors
    assert "left: []" in printed, "threads that were not joined"

    files = sorted(
        tmp_path.glob("out.jsonl*"), key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0
    )
    indices = [json.loads(line)["frame_index"] for path in files for line in path.read_text().splitlines()]
    assert indices == list(range(int(SECONDS * FPS))), "each frame once, across the rotated files"
    assert len(files) > 1

    # The last samples may be of the closing; the first third warms up.
    steady = samples[len(samples) // 3 : -4]
    before, after = steady[: len(steady) // 4], steady[-len(steady) // 4 :]
    growth = sorted(after)[len(after) // 2] / sorted(before)[len(before) // 2] - 1
    assert growth < 0.01, f"resident memory grew by {growth:.2%}: {before[0]} to {after[-1]} KB"
