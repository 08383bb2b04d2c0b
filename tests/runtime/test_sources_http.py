"""Pictures over HTTP: what cameras really send, and what nobody should be able to make this program do."""

import dataclasses
import hashlib
import re
import subprocess
import sys
import threading

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.picture_header import PictureLimit
from fer_edge.sources import http_camera, open_source
from fer_edge.sources.http_camera import MultipartError, MultipartReader, SnapshotDevice
from fer_edge.sources.http_client import HttpClient
from fer_edge.sources.live import LiveOptions

from tests.runtime.fakes.http_camera import HttpCamera, Request, jpeg, mjpeg_head, part
from tests.runtime.fakes.media import index_of, numbered, write_video

QUICK = LiveOptions(
    first_frame_s=5.0, silence_s=5.0, tries=2, backoff_s=0.01, backoff_max_s=0.05, snapshot_s=0.05, patient=False
)
PICTURES = [jpeg(index) for index in range(25)]


def frames_of(camera: HttpCamera, count: int = 1, path: str = "/", user: str = "", **options: object) -> list:
    with open_source(camera.address(path, user), dataclasses.replace(QUICK, **options)) as source:
        frames = iter(source)
        return [next(frames) for _ in range(count)]


def reader_of(data: bytes, boundary: str = "frame", piece: int = 7) -> MultipartReader:
    """Reads `data` a few bytes at a time."""
    rest = [data]

    def read(count: int) -> bytes:
        taken, rest[0] = rest[0][: min(piece, count)], rest[0][min(piece, count) :]
        return taken

    return MultipartReader(read, boundary)


# --- The parts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        part(b"first") + part(b"second") + b"--frame--\r\n",
        part(b"first", with_length=False) + part(b"second", with_length=False) + b"--frame--",
        b"\r\n" + part(b"first") + b"\r\n\r\n" + part(b"second"),
        part(b"first", "--other") + part(b"second", "--other"),
        part(b"first", "--other", with_length=False) + part(b"second", "--other", with_length=False) + b"--other",
        part(b"first").replace(b"\r\n", b"\n") + part(b"second").replace(b"\r\n", b"\n"),
        b"Content-Length: 5\r\n\r\nfirst\r\n" + part(b"second"),
        part(b"first").replace(b"Content-Length", b"content-length ") + part(b"second"),
        part(b"first").replace(b"Content-Type: image/jpeg\r\n", b"") + part(b"second"),
    ],
    ids=[
        "lengths",
        "no lengths",
        "blanks",
        "other name",
        "other name, no lengths",
        "LF",
        "no delimiter",
        "case",
        "one",
    ],
)
def test_the_parts_are_found_whatever_a_camera_makes_of_the_format(body: bytes) -> None:
    reader = reader_of(body)
    assert [reader.next_part() for _ in range(3)] == [b"first", b"second", None]


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans(), st.integers(1, 64))
def test_what_was_sent_as_parts_comes_back(bodies: list[bytes], with_length: bool, piece: int) -> None:
    bodies = [body for body in bodies if with_length or b"--frame" not in body]
    sent = b"".join(part(body, with_length=with_length) for body in bodies)
    reader = reader_of(sent + b"--frame--\r\n", piece=piece)
    received = [reader.next_part() for _ in range(len(bodies) + 1)]
    assert received == [*bodies, None]


@given(st.binary(max_size=400), st.integers(1, 64))
def test_any_bytes_are_parts_or_an_error_and_come_to_an_end(data: bytes, piece: int) -> None:
    reader = reader_of(b"--frame\r\n" + data, piece=piece)
    for _ in range(len(data) + 3):
        try:
            if reader.next_part() is None:
                return
        except MultipartError:
            return
    raise AssertionError("parts without end out of bytes with one")


def test_a_wrong_length_costs_a_picture_and_no_more() -> None:
    body = (
        part(b"first").replace(b": 5", b": 3") + part(b"second").replace(b": 6", b": 9") + part(b"third") + part(b"4")
    )
    reader = reader_of(body)
    received = [reader.next_part() for _ in range(4)]
    assert received[0] == b"fir" and b"4" in received


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"--frame\r\nContent-Length: 2000000000\r\n\r\n", "2000 MB is announced"),
        (b"--frame\r\nContent-Type: image/jpeg\r\n\r\n", "does not end after"),
        (b"--frame\r\n", "head does not end"),
        (b"--frame\r\nContent-Length: 1\r\n\r\n1", "no next part in"),
    ],
    ids=["announced", "without end", "head", "next"],
)
def test_a_part_without_end_is_not_gathered(sent: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_camera, "MOST_PART_BYTES", 100_000)
    pieces, gathered = [sent], [0]

    def read(count: int) -> bytes:
        gathered[0] += count
        return pieces.pop() if pieces else b"x" * count

    reader = MultipartReader(read, "frame")
    with pytest.raises(MultipartError, match=message):
        for _ in range(3):
            reader.next_part()
    assert gathered[0] <= 300_000


# --- MJPEG --------------------------------------------------------------------------------------------------


def test_pictures_are_read_and_text_between_them_is_passed_over() -> None:
    def behave(request: Request) -> None:
        request.send(mjpeg_head() + part(PICTURES[3]) + part(b"temperature: 20\n") + part(PICTURES[4]))
        request.connection.recv(1)

    with HttpCamera(behave) as camera:
        assert index_of(frames_of(camera)[0].image_bgr) in (3, 4)


def test_pictures_in_chunks_are_read() -> None:
    def behave(request: Request) -> None:
        head = mjpeg_head().replace(b"HTTP/1.0", b"HTTP/1.1")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        request.send(head)
        data = part(PICTURES[5]) + part(PICTURES[5]) + b"--frame"
        for at in range(0, len(data), 100):
            request.send(b"%x\r\n" % len(data[at : at + 100]) + data[at : at + 100] + b"\r\n")
        request.connection.recv(1)

    with HttpCamera(behave) as camera:
        assert index_of(frames_of(camera)[0].image_bgr) == 5


def test_a_damaged_picture_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def behave(request: Request) -> None:
        request.send(mjpeg_head())
        for _ in range(5):
            request.send(part(PICTURES[3][:20]))
        request.send(part(PICTURES[7]) + b"--frame")
        request.connection.recv(1)

    with HttpCamera(behave) as camera:
        assert index_of(frames_of(camera)[0].image_bgr) == 7
    assert len(caplog.records) == 1 and "Left out." in caplog.text


def test_a_picture_that_is_too_large_is_refused_undecoded() -> None:
    def behave(request: Request) -> None:
        request.send(mjpeg_head() + part(PICTURES[3]) + b"--frame")
        request.connection.recv(1)

    with HttpCamera(behave) as camera, pytest.raises(SourceError, match=r"64x48 are 0\.0 million pixels"):
        frames_of(camera, limit=PictureLimit(0.001))


def test_a_huge_part_ends_the_connection_not_the_memory() -> None:
    """In a process of its own: a part of 2 GB is announced, then one without a length or an end is sent."""
    block = b"\0" * (1 << 20)

    def behave(request: Request) -> None:
        length = b"Content-Length: 2000000000\r\n" if request.path == "/announced" else b""
        request.send(mjpeg_head() + b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n")
        while request.send(block):
            pass

    script = (
        "import sys\nfrom fer_edge.errors import SourceError\nfrom fer_edge.sources import open_source\n"
        "from fer_edge.sources.live import LiveOptions\n"
        "for address in sys.argv[1:]:\n"
        "    try:\n        open_source(address, LiveOptions(tries=0)).__enter__()\n"
        "    except SourceError as error:\n        print(error)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])\n"
    )
    with HttpCamera(behave) as camera:
        addresses = [camera.address("/announced"), camera.address("/endless")]
        done = subprocess.run([sys.executable, "-c", script, *addresses], capture_output=True, text=True, timeout=60)
    announced, endless, peak_kb = done.stdout.splitlines()
    assert "2000 MB is announced" in announced and "does not end after 17 MB" in endless
    assert int(peak_kb) < 200_000


# --- One picture a request ----------------------------------------------------------------------------------


def test_a_camera_that_sends_one_picture_a_request_is_asked_again_and_that_is_told(caplog) -> None:
    def behave(request: Request) -> None:
        request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[len(camera.requests)])

    with HttpCamera(behave) as camera:
        frames = frames_of(camera, 4, "/snapshot.jpg")
    numbers = [index_of(frame.image_bgr) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "it sends one picture a request, and is asked every 0.05 s."
    ]


def test_between_two_requests_lies_the_set_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(request: Request) -> None:
        request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])

    with HttpCamera(behave) as camera:
        client, waits_s = HttpClient(camera.address(), "camera"), []
        monkeypatch.setattr(client.interrupted, "wait", lambda timeout_s: waits_s.append(timeout_s))
        device = SnapshotDevice(client, None, "camera", PictureLimit(), 60.0, (5.0, 5.0))
        for _ in range(3):
            assert device.read() is not None
        device.close()
    assert waits_s[0] == 0 and all(50 < wait_s <= 60 for wait_s in waits_s[1:])


@pytest.mark.parametrize("length", [b"Content-Length: 3000000000\r\n", b""], ids=["announced", "without end"])
def test_a_single_picture_without_end_is_refused(length: bytes) -> None:
    def behave(request: Request) -> None:
        request.send(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n")
        while request.send(b"\xff" * (1 << 20)):
            pass

    with HttpCamera(behave) as camera, pytest.raises(SourceError, match="a picture of more than 16 MB"):
        frames_of(camera)


# --- Users and passwords ------------------------------------------------------------------------------------


def digest_camera(algorithm: str, qop: str, password: str = "p@ss/w0rd"):
    """A camera that checks a digest as RFC 7616 says."""
    hashing = {"SHA-256": hashlib.sha256}.get(algorithm, hashlib.md5)

    def hashed(*texts: str) -> str:
        return hashing(":".join(texts).encode()).hexdigest()

    def behave(request: Request) -> None:
        said = request.headers.get("authorization", "")
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', said.partition(" ")[2]))
        if said.startswith("Digest"):
            first = hashed("admin", "camera, one", password)
            if algorithm.endswith("sess"):
                first = hashed(first, "n0nce", fields["cnonce"])
            middle = [fields["nc"], fields["cnonce"], "auth"] if qop else []
            expected = hashed(first, "n0nce", *middle, hashed("GET", request.path))
            if fields["response"] == expected and fields["opaque"] == "0paque":
                request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])
                return
        challenge = 'WWW-Authenticate: Digest realm="camera, one", nonce="n0nce", opaque="0paque"'
        challenge += f", algorithm={algorithm}" if algorithm else ""
        request.answer(
            "401 Unauthorized", 'WWW-Authenticate: Basic realm="x"', challenge + (f', qop="{qop}"' if qop else "")
        )

    return behave


@pytest.mark.parametrize(
    ("algorithm", "qop"), [("", ""), ("MD5", "auth"), ("SHA-256", "auth,auth-int"), ("MD5-sess", "auth")]
)
def test_a_password_is_proved_by_digest(algorithm: str, qop: str) -> None:
    with HttpCamera(digest_camera(algorithm, qop)) as camera:
        (frame,) = frames_of(camera, path="/image?channel=1", user="admin:p%40ss%2Fw0rd")
    assert index_of(frame.image_bgr) == 8
    assert "Basic" not in str([request.headers for request in camera.requests])


def test_a_password_is_sent_as_basic_where_a_camera_knows_no_better() -> None:
    def behave(request: Request) -> None:
        if request.headers.get("authorization") == "Basic YWRtaW46aHVudGVyMg==":
            request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])
        else:
            request.answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"')

    with HttpCamera(behave) as camera:
        assert index_of(frames_of(camera, user="admin:hunter2")[0].image_bgr) == 8


@pytest.mark.parametrize("user", ["", "admin:wrong"])
def test_a_wrong_password_is_told_and_not_shown(user: str) -> None:
    with HttpCamera(digest_camera("MD5", "auth")) as camera, pytest.raises(SourceError, match="HTTP 401") as refused:
        frames_of(camera, user=user)
    assert "wrong" not in str(refused.value) and not isinstance(refused.value, SourceAbsentError)
    assert len(camera.requests) <= 3


@pytest.mark.parametrize("user", ["%e6%9d%8e:%C3%BC%22x", "a%0d%0aX-Evil: 1:b", "a%22b:c"])
def test_a_user_in_any_letters_is_asked_for_or_refused_without_being_shown(user: str) -> None:
    with HttpCamera(digest_camera("MD5", "auth")) as camera, pytest.raises(SourceError) as refused:
        frames_of(camera, user=user.replace(" ", "%20"))
    assert not isinstance(refused.value, SourceAbsentError) and "Evil" not in str(refused.value)
    assert not any("x-evil" in request.headers for request in camera.requests)


def test_a_camera_that_is_seldom_asked_is_not_taken_for_silent() -> None:
    def behave(request: Request) -> None:
        request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])

    with HttpCamera(behave) as camera:
        assert len(frames_of(camera, 3, silence_s=0.1, snapshot_s=0.4, tries=0)) == 3
    assert len(camera.requests) == 3


# --- Redirects and playlists --------------------------------------------------------------------------------


def redirecting(target: str):
    def behave(request: Request) -> None:
        if request.path == "/":
            request.answer("302 Found", f"Location: {target}")
        else:
            request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])

    return behave


def test_a_redirect_on_the_same_host_is_followed_with_the_password() -> None:
    def behave(request: Request) -> None:
        if request.path == "/":
            request.answer("307 Temporary Redirect", "Location: /live/image.jpg")
        elif "authorization" not in request.headers:
            request.answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"')
        else:
            request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])

    with HttpCamera(behave) as camera:
        assert index_of(frames_of(camera, user="a:b")[0].image_bgr) == 8


def test_a_redirect_to_another_host_is_refused_unless_allowed() -> None:
    """Or a hijacked camera could have the board ask whatever it can reach: the router, itself."""

    def refuse(request: Request) -> None:
        request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[9])

    with HttpCamera(refuse) as other, HttpCamera(redirecting(f"http://localhost:{other.port}/x")) as camera:
        with pytest.raises(SourceError, match=r"redirected to another host, localhost.*--other-hosts"):
            frames_of(camera)
        assert not other.requests
        assert index_of(frames_of(camera, user="a:secret", other_hosts=True)[0].image_bgr) == 9
        assert "authorization" not in other.requests[0].headers, "the password stays at home"


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "", "/"])
def test_a_redirect_to_nowhere_is_refused(target: str) -> None:
    with HttpCamera(redirecting(target)) as camera, pytest.raises(SourceError, match="redirected"):
        frames_of(camera)
    assert len(camera.requests) < 10


def test_a_video_is_not_followed_to_another_host_either(tmp_path) -> None:
    """FFMPEG asks a second time, and might then be sent elsewhere."""
    video = write_video(tmp_path / "clip.avi", [numbered(i) for i in range(8)]).read_bytes()
    first = threading.Event()

    def behave(request: Request) -> None:
        if first.is_set():
            request.answer("302 Found", f"Location: http://localhost:{other.port}/clip.avi")
        else:
            first.set()
            request.answer("200 OK", "Content-Type: video/x-msvideo", body=video)

    def serve(request: Request) -> None:
        request.answer("200 OK", "Content-Type: video/x-msvideo", body=video)

    with HttpCamera(serve) as other, HttpCamera(behave) as camera:
        with pytest.raises(SourceError, match="answers, but sends no video"):
            frames_of(camera)
        assert len(camera.requests) > 1, "by FFMPEG, too"
        if int(cv2.__version__.split(".")[0]) >= 5:  # whose FFMPEG can be forbidden to follow
            assert not other.requests


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/vnd.apple.mpegurl", b"#EXTM3U\n"),
        ("text/plain", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"),
        ("application/dash+xml", b"<?xml version='1.0'?><MPD></MPD>"),
    ],
)
def test_a_playlist_is_refused_unless_allowed(kind: str, body: bytes) -> None:
    def behave(request: Request) -> None:
        request.answer("200 OK", f"Content-Type: {kind}", body=body)

    with HttpCamera(behave) as camera, pytest.raises(SourceError, match=r"a playlist.*--other-hosts"):
        frames_of(camera)


# --- What else may answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message", "absent"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "nothing at this path", False),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "answers 503", True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "a web page, no video", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answers no HTTP", False),
        (b"", "no answer", True),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "answers no HTTP", False),
    ],
)
def test_what_is_no_video_is_called_what_it_is(answer: bytes, message: str, absent: bool) -> None:
    def behave(request: Request) -> None:
        request.send(answer)

    with HttpCamera(behave) as camera, pytest.raises(SourceError, match=message) as refused:
        frames_of(camera)
    assert isinstance(refused.value, SourceAbsentError) is absent


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.0 200 OK\r\nContent-", mjpeg_head(), mjpeg_head() + part(jpeg())[:80]])
def test_leaving_does_not_wait_for_a_camera_that_fell_silent(begun: bytes) -> None:
    """And no thread stays behind in a read, which could abort the program at its end."""
    heard = threading.Event()

    def behave(request: Request) -> None:
        request.send(begun)
        heard.set()
        request.connection.recv(1)

    patient = dataclasses.replace(QUICK, first_frame_s=60.0, silence_s=60.0)
    with HttpCamera(behave) as camera:
        source = open_source(camera.address(), patient)
        leaving = threading.Thread(target=lambda: (heard.wait(), source.__exit__(None, None, None)))
        leaving.start()
        with pytest.raises(SourceError):
            source.__enter__()
        leaving.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ")]


def test_an_address_of_ipv6_and_a_path_with_blanks_are_understood() -> None:
    def behave(request: Request) -> None:
        request.answer("200 OK", "Content-Type: image/jpeg", body=PICTURES[8])

    with HttpCamera(behave, host="::1") as camera:
        frames_of(camera, path="/my camera/ä.jpg?a=b c")
    assert camera.requests[0].path == "/my%20camera/%C3%A4.jpg?a=b%20c"
