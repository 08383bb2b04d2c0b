"""Secrets in addresses: none is shown, wherever it stands and whatever is done with the address."""

import contextlib
import io
import string
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fer_edge.bench.measure import source_name
from fer_edge.cli import main
from fer_edge.errors import FerEdgeError, UsageError, run_reporting
from fer_edge.options import read_config
from fer_edge.redaction import redacted, scrubbed
from fer_edge.sources import open_source

from tests.runtime.fakes.mjpeg_server import MjpegServer, free_port
from tests.runtime.fakes.servers import mosquitto
from tests.runtime.fakes.subscriber import Subscriber


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/h264", "rtsp://***@10.0.0.5:554/h264"),
        ("rtsp://admin:p@ss@host/h264", "rtsp://***@host/h264"),
        ("rtsp://admin:p@ss/w0rd@host/h264", "rtsp://***"),
        ("http://TOKEN@host/", "http://***@host/"),
        ("http://host/video.cgi?user=me&pwd=hunter2", "http://host/video.cgi?***"),
        ("http://host/live?access_token=abc", "http://host/live?***"),
        ("rtsp://10.0.0.5/user=admin_password=x_channel=1_stream=0.sdp?real_stream", "rtsp://10.0.0.5/***"),
        ("rtsp://nvr:554/Streaming/Channels/101", "rtsp://nvr:554/Streaming/Channels/***"),
        ("RTSP://[fe80::1%25eth0]:554/live", "RTSP://[fe80::1%25eth0]:554/live"),
        ("rtsp:/u:p@h/x", "rtsp:/***@h/***"),
        ("u:p@h/x", "***@h/***"),
        ("10.0.0.5/secret", "10.0.0.5/***"),
        ("http://host:8080/", "http://host:8080/"),
        ("http://host:8o8o/", "http://***"),
        ("tcp:rtsp://u:p@h", "tcp:***"),
        ("secret://host", "***"),
    ],
)
def test_scheme_host_and_port_are_shown_and_a_path_that_is_known_to_be_harmless(address, shown):
    assert redacted(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("0", "clip.mp4", "some folder/photo (1).jpg", "../clip.mp4", "picamera2:1", "50%", "Ä/ö.mp4", "²", ""),
        "/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.2:1.0-video-index0",
    ],
)
def test_what_is_no_address_is_shown_whole(text):
    assert redacted(text) == text


def test_a_file_that_is_here_is_shown_whole_whatever_its_name(tmp_path):
    file = tmp_path / "me@home, 10:30 = noon?.mp4"
    assert redacted(str(file)).startswith("***")
    file.touch()
    assert redacted(str(file)) == str(file)


def test_what_lies_below_something_that_is_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert redacted("text.txt/deeper") == "text.txt/***"  # as a host and a path
    (tmp_path / "text.txt").touch()
    assert redacted("text.txt/deeper") == "text.txt/deeper"


# --- A secret in every place of an address --------------------------------------------------------------------------

# Letters of a secret that are none of an address's own; S3cr3t is what is looked for, in any case of its letters.
_letters = st.text(st.sampled_from(string.ascii_letters + string.digits + "!$%^*()+,-._~'\" äß€"), max_size=6)
_hard_letters = st.text(st.sampled_from(string.printable + "@:/?#&=;[]{}\\ä\u2028"), max_size=6)
_FORMS = (
    "{scheme}://{secret}@cam/live",
    "{scheme}://me:{secret}@cam:554/live",
    "{scheme}://{secret}:pw@cam/live",
    "{scheme}://me:pw{secret}@@cam/live",
    "{scheme}:/me:{secret}@cam/live",
    "{scheme}:me:{secret}@cam/live",
    "{scheme}:\\\\me:{secret}@cam/live",
    "{scheme}//me:{secret}@cam/live",
    " {scheme}://me:{secret}@cam/live",
    "'{scheme}://me:{secret}@cam/live'",
    "//me:{secret}@cam/live",
    "me:{secret}@cam/live",
    "me:{secret}@cam",
    "{secret}@cam",
    "ffmpeg:{scheme}://me:{secret}@cam/live",
    "{scheme}+tls://me:{secret}@cam/live",
    "{scheme}://cam/{secret}",
    "{scheme}://cam/{secret}/live",
    "{scheme}://cam/live/{secret}/ch1",
    "{scheme}://cam/live/x@{secret}",
    "{scheme}://me:pw@cam/live/x@{secret}",
    "{scheme}://cam/user=me_password={secret}_channel=1_stream=0.sdp?real_stream",
    "{scheme}://cam/user=me&password={secret}&channel=1",
    "cam/user=me&password={secret}&channel=1",
    "10.0.0.5/{secret}/live",
    "{scheme}://cam/live;password={secret}",
    "{scheme}://cam/live?{secret}",
    "{scheme}://cam/live?loginuse=me&loginpas={secret}",
    "{scheme}://cam/live?%70assword={secret}",
    "{scheme}://cam/live?{secret}=1",
    "{scheme}://cam?pw={secret}",
    "{scheme}://cam#{secret}",
    "{scheme}://cam/live#{secret}",
    "{secret}://cam/live",
    "picamera2:me:{secret}@cam",
    "/dev/video0?password={secret}",
    "/dev/video0@{secret}",
)
# Beside the host. With an @ in it the secret itself would stand where the host does.
_BESIDE_HOST = (
    "{scheme}://cam;{secret}/live",
    "{scheme}://cam,{secret}/live",
    "{scheme}://cam:554:{secret}/live",
    "{scheme}://cam:{secret}x/live",
    "{scheme}://cam\\{secret}/live",
    "{scheme}://[::1%{secret}]/live",
    "{scheme}://[{secret}]/live",
)


@st.composite
def addresses(draw):
    before, after = draw(st.sampled_from([(_letters, _letters), (_hard_letters, _hard_letters)]))
    secret = f"{draw(before)}S3cr3t{draw(after)}"
    secret = quote(secret, safe="") if draw(st.booleans()) else secret
    scheme = draw(st.sampled_from(["rtsp", "RTSPS", "http", "https", "rtmp", "mqtt", "mqtts", "ftp", "x-unknown"]))
    form = draw(st.sampled_from(_FORMS + _BESIDE_HOST))
    return form.format(scheme=scheme, secret=secret.replace("@", "") if form in _BESIDE_HOST else secret)


def leaks(text):
    return "s3cr3t" in str(text).lower()


@given(addresses())
def test_no_secret_of_an_address_is_shown(address):
    assert not leaks(redacted(address))
    assert not leaks(source_name(address))
    assert not leaks(scrubbed(f"cannot open {address!r}, nor {address}", address))
    with contextlib.suppress(FerEdgeError):
        assert not leaks(open_source(address).name)


@given(addresses())
def test_no_refused_source_shows_its_secret(address):
    try:
        with open_source(address.replace("://", ":/")) as source:
            assert not leaks(source.name)  # a camera that is absent is waited for
    except FerEdgeError as refused:
        assert not leaks(refused)


_PLACES = (
    *(["{}", "{}"], ["--source", "x", "{}"], ["--unknown={}"], ["--unknown", "{}"], ["--m={}"], ["--quiet={}"]),
    *(["--camera", "{}"], ["--threads", "{}"], ["--smoothing", "{}"], ["--hysteresis", "{}"], ["--detect", "{}"]),
    *(["--roi", "{}"], ["--privacy", "{}"], ["--detector", "{}"], ["--rotate-mb", "{}"], ["--config", "{}"]),
    *(["--source", "absent.mp4", "--mqtt", "{}"], ["--source", "absent.mp4", "--web", "{}"], ["bench", "{}"]),
    *(["--source", "absent.mp4", "--metrics", "{}"], ["--jsonl", "{}"], ["models", "--fetch", "{}"], ["doctor", "{}"]),
    *(["bench", "--threads", "{}"], ["--source-file", "{}"], ["--source", "0", "--web-token-file", "{}"]),
)


@given(address=addresses().filter(lambda text: "\0" not in text), words=st.sampled_from(_PLACES))
def test_no_mistake_on_the_command_line_shows_a_secret(address, words):
    error = _standard_error_of([word.format(address) for word in words])
    assert error and not leaks(error), error


def _standard_error_of(words):
    with contextlib.redirect_stderr(io.StringIO()) as error, contextlib.redirect_stdout(error):
        try:
            main(words)
        except SystemExit as ended:
            assert ended.code == 2
    return error.getvalue()


@pytest.mark.parametrize("words", [["--web-tokne", "S3cr3t"], ["--web-tokne=S3cr3t"], ["--m=S3cr3t"]])
def test_a_word_that_nobody_expected_may_be_a_token(words):
    error = _standard_error_of(words)
    assert not leaks(error)
    assert words[0].partition("=")[0] in error, "the mistyped flag is named"


@pytest.mark.parametrize("flag", ["--mqtt-password", "--source-password", "--mqtt-password-file"])
def test_a_password_in_the_place_of_its_file_is_not_shown(flag, capsys):
    """The first two are short for the flags that name a file."""
    address = ["--source", "rtsp://me@cam/live", "--mqtt", "mqtt://me@broker"]
    assert main([*address, flag, "S3cr3t"]) == 2
    error = capsys.readouterr().err
    assert "password_file: no file of this name" in error and not leaks(error)


_WRONG_TOML = (
    "[source]\naddress = [{0}]",
    "[source]\naddress = {{a = {0}}}",
    "[source]\naddress = [[{0}]]",
    "[source]\n{0} = 1",
    "[{0}]\nx = 1",
    "[{0}]\n[{0}]",
    "[source]\nadress = {0}",
    "source = {0}",
    "[web]\ntoken = [{0}]",
    "[web]\ntokens = {0}",
    "[web]\naddress = [{0}]",
    "[mqtt]\naddress = [{0}]",
    "[mqtt]\nno_discovery = {0}",
    "[model]\nthreads = {0}",
    "[detection]\nroi = {0}",
    "[detection]\nroi = [{0}]",
    "[output]\njsonl = [{0}]",
    "[output]\nprivacy = {0}",
    "[source]\naddress = {0}\naddress = {0}",
    "[source]\naddress = {0} {0}",
)


@given(address=addresses(), text=st.sampled_from(_WRONG_TOML))
@example(address="rtsp://S3cr3t'@cam/live", text="[{0}]\n[{0}]")
@example(address=f"rtsp://{'x' * 100}S3cr3t{'x' * 300}@cam/live", text="[{0}]\n[{0}]")
def test_no_mistake_in_the_configuration_shows_a_secret(tmp_path_factory, address, text):
    escaped = "".join(letter if letter.isalnum() else f"\\u{ord(letter):04x}" for letter in address)
    path = tmp_path_factory.mktemp("config") / "fer-edge.toml"
    path.write_text(text.format(f'"{escaped}"'))
    with pytest.raises(UsageError) as refused:
        read_config(path)
    assert not leaks(refused.value), refused.value


def test_an_error_of_the_system_shows_no_secret(capsys):
    def job():
        Path("rtsp:/me:S3cr3t@cam/live").read_bytes()

    assert run_reporting("fer-edge", job) == 2
    assert capsys.readouterr().err == "fer-edge: rtsp:/***@cam/live: No such file or directory\n"


def test_a_librarys_message_is_scrubbed_of_the_parts_it_quotes():
    address = "rtsp://me:p%40sswort@cam:554/live?pwd=hunter2"
    message = "cannot connect to cam as me: p@sswort refused at /live?pwd=hunter2 (P@SSWORT)"
    assert scrubbed(message, address) == "cannot connect to cam as me: *** refused at /live?***=*** (***)"


# --- The whole program ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("mediapipe_file")
def test_nothing_a_run_says_writes_serves_or_sends_holds_a_secret(tmp_path):
    """A camera and a broker with secrets in every place they may have one, and every output there is."""
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is absent")
    pytest.importorskip("microdot", reason="the extra `web` is absent")
    web, metrics, broker = free_port(), free_port(), free_port()
    log, jsonl, csv = tmp_path / "log", tmp_path / "faces.jsonl", tmp_path / "faces.csv"
    with MjpegServer() as camera, mosquitto(broker), Subscriber(broker) as heard, open(log, "w") as stderr:
        address = f"http://S3cr3tuser:S3cr3t%40pw@127.0.0.1:{camera.port}/S3cr3t/live?pw=S3cr3t&S3cr3t=1#S3cr3t"
        words = ["--source", address, "--mqtt", f"mqtt://me:S3cr3t@127.0.0.1:{broker}", "--mqtt-topic", "door"]
        words += ["--web", str(web), "--metrics", str(metrics), "--jsonl", str(jsonl), "--csv", str(csv)]
        words += ["--save-video", str(tmp_path / "out.avi"), "--silence", "1", "--tries", "1"]
        command = [sys.executable, "-m", "fer_edge", *words]
        program = subprocess.Popen(command, stdout=stderr, stderr=stderr)
        try:
            heard.wait_for("door/stats", timeout_s=60)
            served = read(web, "/") + read(metrics, "/metrics") + read(web, "/events", enough=b"\n\n")
            camera.stop()
            assert program.wait(60) == 3, "the source is lost for good"
        finally:
            program.kill()
            program.wait()
    written = b"".join(path.read_bytes() for path in (log, jsonl, csv))
    assert b"http://***@127.0.0.1:" in written and b"http://***@127.0.0.1:" in served
    assert b"lost for good" in written
    for said in (written, served, repr(heard.messages).encode(), *(str(path).encode() for path in tmp_path.iterdir())):
        assert b"s3cr3t" not in said.lower()


def read(port, path, enough=b""):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
        found = b""
        while (block := response.read1()) and not (enough and enough in found):
            found += block
        return found
