"""RTSP, against gst-rtsp-server on loopback."""

import os
import socket
import threading
import time

import pytest

from fer_edge.errors import SourceError
from fer_edge.sources import open_source
from fer_edge.sources.live import LiveOptions

from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.servers import rtsp_server
from tests.waiting import eventually

PATIENT = LiveOptions(first_frame_s=20.0, silence_s=2.0, tries=30, backoff_s=0.2, backoff_max_s=0.5)


@pytest.fixture(autouse=True)
def over_tcp(monkeypatch):
    """Loopback UDP works as well, but a lost packet would make the test's pictures grey."""
    monkeypatch.setitem(os.environ, "OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")


def test_an_rtsp_stream_is_read_and_its_newest_frame_given():
    port = free_port()
    with rtsp_server(port), open_source(f"rtsp://127.0.0.1:{port}/test", PATIENT) as source:
        frames = iter(source)
        first = next(frames)
        eventually(lambda: source._reader.next_index > first.index + 9, "frames nobody took were not read")
        second = next(frames)
        third = next(frames)
    assert first.image_bgr.shape == (240, 320, 3)
    assert first.image_bgr.max() > 200, "the white ball"
    assert second.index - first.index >= 9, "frames nobody took were dropped"
    assert second.read_at_s < third.read_at_s
    assert first.unix_time_s == pytest.approx(time.time(), abs=60)


def test_an_rtsp_server_killed_and_started_again_is_read_on(caplog):
    port = free_port()
    with rtsp_server(port) as server, open_source(f"rtsp://127.0.0.1:{port}/test", PATIENT) as source:
        frames = iter(source)
        before = [next(frames).index for _ in range(3)]
        server.kill()
        server.wait()
        with rtsp_server(port):
            after = [next(frames).index for _ in range(12)]
    assert before + after == sorted(set(before + after)), "the index goes on across the gap"
    assert "Waiting for it" in caplog.text


def test_a_path_the_server_does_not_have_is_told_on_entering():
    port = free_port()
    with rtsp_server(port), pytest.raises(SourceError, match="answers, but sends no video"):
        open_source(f"rtsp://127.0.0.1:{port}/nothing", PATIENT).__enter__()


def test_leaving_does_not_wait_for_a_server_that_fell_silent():
    """FFMPEG would wait in its read; its connection is shut under it."""
    heard = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def accept():
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)
                heard.set()
                while connection.recv(1000):
                    pass

        threading.Thread(target=accept, daemon=True).start()
        patient = LiveOptions(first_frame_s=60.0, silence_s=60.0)
        source = open_source(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/", patient)
        leaving = threading.Thread(target=lambda: (heard.wait(), source.__exit__(None, None, None)))
        leaving.start()
        with pytest.raises(SourceError):
            source.__enter__()
        leaving.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ")]
