"""Real servers on the loopback address, started as processes; a test that needs one Debian has not skips, saying so."""

import contextlib
import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_for_port

RTSP_SCRIPT = Path(__file__).parent / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen]:
    """The server while it runs; a test may kill it earlier."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


def has_mosquitto() -> bool:
    return _mosquitto_command() is not None


def _mosquitto_command() -> str | None:
    return shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@contextlib.contextmanager
def mosquitto(port: int, *lines: str) -> Iterator[subprocess.Popen]:
    """Debian's MQTT broker; anybody may publish unless `lines` of its configuration say otherwise, nothing is kept."""
    command = _mosquitto_command()
    if command is None:
        pytest.skip("mosquitto is absent; `apt install mosquitto` brings it")
    lines = lines or ("allow_anonymous true",)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        # Started by root it would become a user of its own, who may not enter the folders of a test.
        config.write("\n".join([f"user {getpass.getuser()}", f"listener {port} 127.0.0.1", *lines, ""]))
        config.flush()
        with running([command, "-c", config.name], port) as process:
            yield process


def rtsp_server(port: int) -> contextlib.AbstractContextManager[subprocess.Popen]:
    """gst-rtsp-server with a moving H.264 test picture at /test, 320x240, 15 frames a second."""
    if not Path(SYSTEM_PYTHON).exists() or _no_rtsp():
        pytest.skip("gst-rtsp-server is absent; `.ci/run` names the packages of Debian it needs")
    return running([SYSTEM_PYTHON, str(RTSP_SCRIPT), str(port)], port)


def _no_rtsp() -> bool:
    probe = [SYSTEM_PYTHON, str(RTSP_SCRIPT), "--check"]
    return subprocess.run(probe, capture_output=True, timeout=60).returncode != 0


def chromium() -> str:
    command = shutil.which("chromium") or shutil.which("chromium-browser")
    if command is None:
        pytest.skip("chromium is absent; `apt install chromium` brings it")
    return command
