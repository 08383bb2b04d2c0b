"""The program as a service sees it: signals, reload, READY and watchdog, and no thread or half line left behind."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from fer_edge.errors import SourceError
from fer_edge.program.loop import ReloadRequested, Signals
from fer_edge.program.parts import make_source
from fer_edge.program.program import run_program
from fer_edge.program.service import Supervisor
from fer_edge.settings import CameraSettings, OutputSettings, Settings, SourceSettings
from fer_edge.sinks import VideoSink

from tests.runtime.fakes.media import read_video
from tests.runtime.fakes.mjpeg_server import MjpegServer, free_port
from tests.waiting import TIMEOUT_S, eventually

needs_detector = pytest.mark.usefixtures("mediapipe_file")


@contextlib.contextmanager
def started(*words, **environ):
    """`fer-edge` as a process of its own; killed at the end if it still runs."""
    command = [sys.executable, "-m", "fer_edge", *map(str, words)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_lines(path: Path, count: int, process) -> None:
    def has_them() -> bool:
        return path.exists() and path.read_bytes().count(b"\n") >= count

    eventually(has_them, f"{path}: fewer than {count} lines", process=process)


def wait_for_text(path: Path, text: str, process) -> None:
    eventually(lambda: text in path.read_text(), f"{path}: no {text}", process=process)


def indices(path: Path) -> list[int]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line)["frame_index"] for line in text.splitlines()]


# Far longer than any wait of a test: a program that waited for its source would not end in time.
PATIENT = ("--first-frame", "600", "--silence", "600")


def stop(process, number=signal.SIGTERM) -> None:
    """Ask it to stop. It must end with exit code 0 and without a traceback."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@needs_detector
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_live_program_with_every_sink_ends_when_it_is_told(tmp_path, number):
    out = tmp_path / "out.jsonl"
    words = ["--jsonl", out, "--csv", tmp_path / "out.csv", "--save-video", tmp_path / "out.mp4", "--quiet"]
    served = ["--web", "0", "--metrics", "0", "--mqtt", f"mqtt://127.0.0.1:{free_port()}"]
    with MjpegServer() as server:
        words += ["--source", f"http://127.0.0.1:{server.port}/", *PATIENT, *served]
        with started(*words) as process:
            wait_for_lines(out, 20, process)
            stop(process, number)
    assert indices(out) == sorted(set(indices(out)))
    assert (tmp_path / "out.mp4").stat().st_size > 1000


@needs_detector
@pytest.mark.parametrize("is_gone", [False, True], ids=["silent", "gone"])
def test_a_program_whose_camera_sends_no_more_ends_when_it_is_told(tmp_path, is_gone):
    """It waits for a frame, or to reopen, when the signal comes."""
    out = tmp_path / "out.jsonl"
    server = MjpegServer()
    address = f"http://127.0.0.1:{server.port}/"
    with server, started("--source", address, *PATIENT, "--jsonl", out, "--quiet") as process:
        wait_for_lines(out, 5, process)
        if is_gone:
            server.stop()
            assert "Waiting for it" in process.stderr.readline()
        else:
            server.pause()
        stop(process)


@needs_detector
def test_sighup_reads_the_configuration_again_and_keeps_what_did_not_change(tmp_path):
    first, second, config = tmp_path / "first.jsonl", tmp_path / "second.jsonl", tmp_path / "fer-edge.toml"
    with MjpegServer() as server:
        source = f'[source]\naddress = "http://127.0.0.1:{server.port}/"\n[output]\nquiet = true\n'
        config.write_text(source + f'jsonl = "{first}"\n')
        with started("--config", config) as process:
            wait_for_lines(first, 5, process)
            config.write_text(source + f'jsonl = "{first}"\ncsv = "{tmp_path / "more.csv"}"\n')
            process.send_signal(signal.SIGHUP)
            wait_for_lines(tmp_path / "more.csv", 1, process)
            wait_for_lines(first, first.read_bytes().count(b"\n") + 5, process)
            config.write_text(source + "jsnol = 1\n")
            process.send_signal(signal.SIGHUP)
            wait_for_lines(first, first.read_bytes().count(b"\n") + 5, process)
            config.write_text("[output]\nquiet = true\n")  # no source at all
            process.send_signal(signal.SIGHUP)
            wait_for_lines(first, first.read_bytes().count(b"\n") + 5, process)
            config.write_text(source + f'jsonl = "{second}"\n[detection]\nwhen = 5\n')
            process.send_signal(signal.SIGHUP)
            wait_for_lines(second, 5, process)
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "configuration read again" in errors
    assert "configuration not applied" in errors and "did you mean jsonl?" in errors
    whole = indices(first) + indices(second)
    assert whole == sorted(set(whole)), "the stream was not opened again, so its index goes on"


WRONG = (
    *('[output]\nkeep_files = "²"', "[model]\nthreads = 100000", "[model]\nthreads = 99999999999999999999", "\x00"),
    *('[output]\njsonl = "a\\u0000b"', "[output]\nrotate_mb = 1e308", "[source]\naddress = [[[1]]]", "[[["),
    *('[model]\nfile = "/dev/zero"', "[camera]\nwidth_px = nan", "[web]\naddress = 2020-01-01", "a = " + "[" * 5000),
)


@needs_detector
def test_no_wrong_value_in_the_file_ends_a_service_or_changes_it(tmp_path):
    out, config = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml"
    with MjpegServer() as server:
        right = f'[source]\naddress = "http://127.0.0.1:{server.port}/"\n[output]\nquiet = true\njsonl = "{out}"\n'
        config.write_text(right)
        with started("--config", config) as process:
            wait_for_lines(out, 3, process)
            for wrong in WRONG:
                section = wrong.partition("\n")[0]
                config.write_text(right.replace(f"{section}\n", f"{wrong}\n") if section in right else right + wrong)
                process.send_signal(signal.SIGHUP)
                wait_for_lines(out, out.read_bytes().count(b"\n") + 3, process)
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and "Traceback" not in errors
    assert errors.count("configuration not applied") == len(WRONG)


@needs_detector
def test_sighup_on_a_file_goes_on_where_it_was(clip, tmp_path):
    out, config = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml"
    config.write_text(f'[source]\naddress = "{clip}"\nmax_frames = 200\n[output]\nquiet = true\njsonl = "{out}"\n')
    with started("--config", config) as process:
        wait_for_lines(out, 10, process)
        for _ in range(3):
            process.send_signal(signal.SIGHUP)
            assert "configuration read again" in process.stderr.readline()
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert indices(out) == list(range(200))


@needs_detector
def test_sighup_changes_the_source_or_keeps_it_where_the_new_one_cannot_be_opened(clip, tmp_path):
    out, config = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml"
    output = f'[output]\nquiet = true\njsonl = "{out}"\n'
    with MjpegServer() as server:
        config.write_text(f'[source]\naddress = "http://127.0.0.1:{server.port}/"\n' + output)
        with started("--config", config) as process:
            wait_for_lines(out, 5, process)
            config.write_text(f'[source]\naddress = "{tmp_path}/absent.mp4"\n' + output)
            process.send_signal(signal.SIGHUP)
            wait_for_lines(out, out.read_bytes().count(b"\n") + 5, process)
            config.write_text(f'[source]\naddress = "{clip}"\nmax_frames = 1000000\n' + output)
            process.send_signal(signal.SIGHUP)
            wait_for_text(out, str(clip), process)
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "the new source is not used" in errors and "absent.mp4" in errors


@needs_detector
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('privacy = "numbers"', "--privacy numbers forbids"),
        ('privacy = "blur"\n[mqtt]\naddress = "broker.local"', "broker.local"),
    ],
)
def test_a_reload_with_an_output_that_is_refused_changes_nothing(tmp_path, change, reason):
    """Or sinks made for one privacy would go on beside settings that promise another."""
    out, config = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml"
    with MjpegServer() as server:
        kept = f'quiet = true\njsonl = "{out}"\nvideo = "{tmp_path / "out.mp4"}"\n'
        source = f'[source]\naddress = "http://127.0.0.1:{server.port}/"\n[output]\n' + kept
        config.write_text(source)
        with started("--config", config) as process:
            wait_for_lines(out, 5, process)
            config.write_text(source + change)
            process.send_signal(signal.SIGHUP)
            wait_for_lines(out, out.read_bytes().count(b"\n") + 5, process)
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert "configuration not applied" in errors and reason in errors
    assert "configuration read again" not in errors


@needs_detector
def test_a_reload_to_a_port_that_is_taken_leaves_the_page_and_one_to_another_token_takes_it(tmp_path):
    out, config, token = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml", tmp_path / "token"
    port = free_port()

    def status(given):
        address = f"http://127.0.0.1:{port}/page.js?token={given}"
        try:
            with urllib.request.urlopen(address, timeout=10) as response:
                return response.status
        except OSError as error:  # refused, or for a moment nobody listens
            return getattr(error, "code", None)

    def configured(address):
        web = f'[web]\naddress = {address}\ntoken_file = "{token}"\n'
        config.write_text(f'{web}[source]\naddress = "http://127.0.0.1:{server.port}/"\n[output]\njsonl = "{out}"\n')

    token.write_text("first-of-two-tokens")
    with MjpegServer() as server, socket.create_server(("127.0.0.1", 0)) as other:
        configured(port)
        with started("--config", config) as process:
            wait_for_lines(out, 5, process)
            configured(other.getsockname()[1])
            process.send_signal(signal.SIGHUP)
            wait_for_lines(out, out.read_bytes().count(b"\n") + 5, process)
            assert status("first-of-two-tokens") == 200
            token.write_text("second-of-two-tokens")
            configured(port)
            process.send_signal(signal.SIGHUP)
            eventually(lambda: status("second-of-two-tokens") == 200)
            assert status("first-of-two-tokens") == 401
            process.terminate()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert "configuration not applied: --web: cannot listen" in errors and "tokens" not in errors


@needs_detector
def test_times_and_numbers_go_on_when_the_source_changes(clip, tmp_path):
    """Sinks that stay, a recording or the faces seen, go by them."""
    out, config = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml"
    output = f'max_frames = 1000000\n[output]\nquiet = true\njsonl = "{out}"\n'
    with MjpegServer() as server:
        config.write_text(f'[source]\naddress = "{clip}"\n' + output)
        with started("--config", config) as process:
            wait_for_lines(out, 20, process)
            config.write_text(f'[source]\naddress = "http://127.0.0.1:{server.port}/"\n' + output)
            process.send_signal(signal.SIGHUP)
            wait_for_text(out, "http", process)
            stop(process)
    times = [json.loads(line)["time_s"] for line in out.read_text().splitlines()]
    assert times == sorted(times)
    assert indices(out) == sorted(set(indices(out)))


@needs_detector
def test_a_source_lost_for_good_is_exit_code_3(tmp_path):
    out = tmp_path / "out.jsonl"
    with MjpegServer() as server:
        words = ["--jsonl", out, "--quiet", "--tries", "1", "--first-frame", "1", "--silence", "1"]
        with started("--source", f"http://127.0.0.1:{server.port}/", *words) as process:
            wait_for_lines(out, 3, process)
            server.stop()
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3
    assert "lost for good after 1 tries" in errors.splitlines()[-1]
    assert indices(out)


@needs_detector
def test_systemd_hears_ready_after_the_first_frame_then_the_watchdog(clip, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(TIMEOUT_S)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with started("--source", clip, "--quiet", "--max-frames", "40", **environ) as process:
            said = [line.recv(1000).decode() for _ in range(3)]
            assert said == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
            while said[-1] != "STOPPING=1":
                said.append(line.recv(1000).decode())
            assert process.wait(TIMEOUT_S) == 0


# --- The parts alone ----------------------------------------------------------------------------------------


def test_the_watchdog_is_fed_by_frames_alone_and_three_times_as_often_as_needed(tmp_path):
    now_s = [0.0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(0.2)
        supervisor = Supervisor(
            {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}, clock_s=lambda: now_s[0]
        )
        with pytest.raises(TimeoutError):
            line.recv(100)
        for tenth in range(31):
            now_s[0] = tenth / 10
            supervisor.frame_done()
        said = [line.recv(100) for _ in range(5)]
        assert said == [b"READY=1", *[b"WATCHDOG=1"] * 4]


def test_the_watchdog_is_fed_while_the_loop_waits_for_its_source(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(0.2)
        supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"})
        supervisor.waiting()
        assert line.recv(100) == b"WATCHDOG=1", "and not READY, which needs a frame"
        supervisor.waiting("waiting for\ncamera 0")
        assert [line.recv(100) for _ in range(2)] == [b"READY=1", b"STATUS=waiting for camera 0"]
        supervisor.waiting("waiting for camera 0")
        supervisor.frame_done()
        assert line.recv(100) == b"STATUS=frames come", "READY is said once, a status when it changes"


@needs_detector
def test_a_service_whose_camera_is_away_at_its_start_is_ready_and_waits_until_it_comes(tmp_path):
    """So that it is not started again and again, and an upgrade is not taken back for a pulled plug."""
    out, port = tmp_path / "out.jsonl", free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(TIMEOUT_S)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000"}
        address = f"http://127.0.0.1:{port}/"
        with started("--source", address, "--quiet", "--jsonl", out, "--first-frame", "2", **environ) as process:
            said = [line.recv(1000).decode()]
            while said.count("WATCHDOG=1") < 4:
                said.append(line.recv(1000).decode())
            assert said.count("READY=1") == 1
            assert f"STATUS=waiting for {address}" in "\n".join(said)
            with MjpegServer(port):
                while said[-1] != "STATUS=frames come":
                    said.append(line.recv(1000).decode())
                wait_for_lines(out, 3, process)
                process.terminate()
                _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert len(errors.splitlines()) == 2
    assert "Waiting for it" in errors.splitlines()[0] and "frames come again" in errors.splitlines()[1]


@needs_detector
def test_a_reload_while_the_camera_is_away_waits_for_the_new_one(tmp_path):
    out, config, ports = tmp_path / "out.jsonl", tmp_path / "fer-edge.toml", [free_port(), free_port()]
    text = f'[camera]\nfirst_frame_s = 2\n[output]\nquiet = true\njsonl = "{out}"\n[source]\n'
    config.write_text(text + f'address = "http://127.0.0.1:{ports[0]}/"\n')
    with started("--config", config, NOTIFY_SOCKET=str(tmp_path / "nobody")) as process:
        assert "Waiting for it" in process.stderr.readline()
        config.write_text(text + f'address = "http://127.0.0.1:{ports[1]}/"\n')
        process.send_signal(signal.SIGHUP)
        assert "configuration" in process.stderr.readline()
        with MjpegServer(ports[1]):
            wait_for_lines(out, 3, process)
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0


@needs_detector
def test_a_camera_that_is_away_at_the_start_is_exit_code_3_once_the_tries_are_used_up(tmp_path):
    with started("--source", f"http://127.0.0.1:{free_port()}/", "--quiet", "--tries", "1") as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3
    assert "Waiting for it" in errors and "lost for good after 1 tries" in errors.splitlines()[-1]


@needs_detector
def test_a_camera_that_stays_away_is_exit_code_3_and_not_the_watchdogs(tmp_path):
    """Meanwhile systemd hears from it: the tries wait for 1, 2 and 4 s, the watchdog's limit is 3 s."""
    out, heard = tmp_path / "out.jsonl", []
    with MjpegServer() as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        words = ["--jsonl", out, "--quiet", "--tries", "3", "--first-frame", "1", "--silence", "4"]
        words += ["--save-video", tmp_path / "out.mp4"]
        with started("--source", f"http://127.0.0.1:{server.port}/", *words, **environ) as process:
            wait_for_lines(out, 3, process)
            server.stop()
            assert "Waiting for it" in process.stderr.readline()
            forget_what_came(line)
            line.settimeout(TIMEOUT_S)
            while (said := line.recv(1000)) != b"STOPPING=1":
                heard.append(said)
            assert process.wait(TIMEOUT_S) == 3, "the tries are used up, and every sink is closed"
    assert heard.count(b"WATCHDOG=1") > 3, "once a try would not do"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notify", "out.jsonl", "out.mp4"]


def forget_what_came(line: socket.socket) -> None:
    line.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while line.recv(1000):
            pass


@pytest.mark.parametrize(
    ("environ", "tries", "openings"),
    [({}, None, 6), ({"NOTIFY_SOCKET": "/nobody"}, None, 30), ({}, 2, 3), ({"NOTIFY_SOCKET": "/nobody"}, 2, 3)],
    ids=["terminal", "service", "terminal with --tries", "service with --tries"],
)
def test_under_systemd_a_camera_that_never_comes_is_tried_without_end_unless_told_otherwise(environ, tries, openings):
    """Of openings without end 30 are counted: five times as many as at a terminal."""
    settings = Settings(
        source=SourceSettings(address=f"http://127.0.0.1:{free_port()}/"), camera=CameraSettings(tries=tries)
    )
    source, opened = make_source(settings, Supervisor(environ)), []
    open_device = source.open_device

    def count_and_open():
        opened.append(1)
        return open_device()

    def look(status):
        if len(opened) >= 30:
            raise KeyboardInterrupt

    source.open_device = count_and_open
    source.options = dataclasses.replace(source.options, backoff_s=0.001, backoff_max_s=0.001, waiting=look)
    with pytest.raises((SourceError, KeyboardInterrupt)), source:
        next(iter(source))
    assert len(opened) == openings


def test_without_systemd_nothing_is_said():
    Supervisor({}).frame_done()
    Supervisor({"NOTIFY_SOCKET": "/nonexistent/socket"}).stopping()


def test_a_signal_waits_for_the_end_of_the_frame_and_no_longer():
    done = []
    with Signals(reloads=True) as signals:
        with pytest.raises(KeyboardInterrupt), signals.shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("frame")
        os.kill(os.getpid(), signal.SIGTERM)  # closing is not broken off by another
    assert done == ["frame"]


def test_a_signal_while_it_waits_is_heard_at_once():
    with Signals(reloads=True) as signals:
        signals.reload_at_once = True
        with pytest.raises(ReloadRequested):
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_reload_waits_for_a_frame_where_waiting_must_not_be_broken_off():
    with Signals(reloads=True) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(ReloadRequested), signals.shielded():
            pass


def test_a_stop_goes_before_a_reload():
    with Signals(reloads=True) as signals, pytest.raises(KeyboardInterrupt), signals.shielded():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)


def test_while_all_is_closed_no_signal_is_heard():
    with Signals(reloads=True) as signals:
        signals.reload_at_once = True
        signals.finish()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)


def test_a_reload_asked_for_during_a_reload_waits_for_the_next_frame():
    with Signals(reloads=True) as signals:
        with signals.shielded(reload=False):
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(ReloadRequested), signals.shielded():
            pass


@needs_detector
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_recording_is_finished_costs_no_frame(clip, tmp_path, monkeypatch, number):
    """The clip has ended by itself, so no earlier signal has turned the later ones off."""
    finish, told = VideoSink.__exit__, []

    def finish_after_signal(sink, *why):
        told.append(number)
        os.kill(os.getpid(), number)
        finish(sink, *why)

    monkeypatch.setattr(VideoSink, "__exit__", finish_after_signal)
    output = OutputSettings(video=tmp_path / "out.mp4", jsonl=tmp_path / "out.jsonl", quiet=True)
    settings = Settings(source=SourceSettings(address=str(clip), max_frames=20), output=output)
    run_program(settings, read_again=lambda: settings)
    assert told == [number]
    assert indices(tmp_path / "out.jsonl") == list(range(20))
    assert len(read_video(tmp_path / "out.mp4")) == 20


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Signals(reloads=False):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
