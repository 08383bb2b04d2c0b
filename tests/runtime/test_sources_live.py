"""Live sources: the newest frame wins, silence is noticed, and what is lost comes back or is lost for good."""

import dataclasses
import functools
import http.server
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.sources import open_source
from fer_edge.sources.capture import CaptureDevice, camera_source
from fer_edge.sources.live import LiveOptions, LiveSource

from tests.runtime.fakes.media import BLUE, GREEN, RED, index_of, numbered, write_video
from tests.runtime.fakes.mjpeg_server import MjpegServer, free_port
from tests.runtime.fakes.on_demand import OnDemand, in_turn

FAKES = str(Path(__file__).parent / "fakes")
QUICK = LiveOptions(first_frame_s=30.0, silence_s=30.0, tries=3, backoff_s=0.01, backoff_max_s=0.05)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read ")]


def first_frames(source, count):
    frames = iter(source)
    return [next(frames) for _ in range(count)]


def test_a_slow_consumer_gets_the_newest_frame_and_sees_what_was_dropped():
    device = OnDemand()
    device.allow(1)
    with device.source(QUICK) as source:
        frames = iter(source)
        for newest in (10, 13, 14, 60):
            device.deliver(newest + 1 - device.read_count)
            frame = next(frames)
            assert frame.index == newest, "frames nobody took leave gaps in the index"
            assert index_of(frame.image_bgr) == newest % 25


def test_no_frame_is_given_twice_to_a_fast_consumer():
    device = OnDemand()
    device.allow(1)
    with device.source(dataclasses.replace(QUICK, silence_s=0.05, tries=0)) as source:
        frames = iter(source)
        assert next(frames).index == 0
        for index in range(1, 20):
            device.deliver()
            assert next(frames).index == index
        with pytest.raises(SourceError, match=r"no frame for 0\.05 s"):
            next(frames)


def test_a_live_frame_carries_the_time_since_the_source_was_entered():
    device, before_s, times_s = OnDemand(), time.monotonic(), []
    device.allow(1)
    with device.source(QUICK) as source:
        for frame in source:
            times_s.append(frame.captured_at_s)
            if len(times_s) == 5:
                break
            device.deliver()
    assert times_s == sorted(times_s) and times_s[0] >= 0 and times_s[-1] <= time.monotonic() - before_s
    assert (source.live, source.fps, source.frame_count) == (True, None, None)


def test_leaving_joins_the_thread_and_closes_the_device():
    device = OnDemand()
    device.allow(1)
    with device.source(QUICK) as source:
        assert len(readers()) == 1
        first_frames(source, 1)
    assert readers() == [] and device.closed.is_set()


def test_a_device_that_ends_is_reopened_and_its_index_goes_on(caplog):
    devices = [OnDemand.ending(5), OnDemand.ending(5), OnDemand.ending(3)]
    indices = []
    with in_turn(devices, QUICK) as source:
        for frame in source:
            indices.append(frame.index)
            if frame.index >= 12:
                break
    assert indices == sorted(set(indices))
    assert all(device.closed.is_set() for device in devices)
    assert caplog.text.count("Waiting for it") == 1, "the same trouble again is counted, not told again"


def test_a_device_that_falls_silent_is_reopened():
    options = LiveOptions(first_frame_s=30.0, silence_s=0.05, tries=3, backoff_s=0.01)
    silent, after = OnDemand(), OnDemand.ending(1)
    silent.allow(1)
    with in_turn([silent, after], options) as source:
        assert [frame.index for frame in first_frames(source, 2)] == [0, 1]
    assert silent.closed.is_set()


def test_a_device_that_never_comes_back_is_lost_for_good(caplog):
    unplugged = itertools.repeat(SourceError("camera: unplugged."))
    source = in_turn(itertools.chain([OnDemand.ending(3)], unplugged), QUICK)
    with source, pytest.raises(SourceError, match="lost for good") as lost:
        list(source)
    assert lost.value.exit_code == 3
    assert "after 3 tries" in str(lost.value) and "unplugged" in str(lost.value)
    assert readers() == []


class Hurried(LiveSource):
    """Notes how long it would wait, and does not."""

    def _wait(self, wait_s, status):
        self.waits = [*getattr(self, "waits", []), wait_s]


def test_each_try_waits_twice_as_long_up_to_a_bound():
    options = LiveOptions(tries=5, backoff_s=1.0, backoff_max_s=5.0)
    gone = itertools.repeat(SourceError("camera: unplugged."))
    source = in_turn(itertools.chain([OnDemand.ending(1)], gone), options, Hurried)
    with source, pytest.raises(SourceError):
        list(source)
    assert source.waits == [1, 2, 4, 5, 5]


def one_picture_each():
    return (OnDemand.ending(1) for _ in itertools.count())


def test_a_device_that_gives_a_frame_at_each_try_is_still_in_trouble(caplog):
    """Its wait grows, the tries are used up, and the log does not fill."""
    options = LiveOptions(tries=5, backoff_s=1.0, backoff_max_s=30.0)
    with in_turn(one_picture_each(), options, Hurried) as source, pytest.raises(SourceError, match="lost"):
        list(source)
    assert source.waits == [1, 2, 4, 8, 16]
    assert [record.getMessage().split(".")[0] for record in caplog.records] == [
        "camera: no more frames come",
        "camera: frames come again, after 1 failures",
    ]


def test_frames_for_a_while_make_the_tries_start_anew(caplog):
    options = dataclasses.replace(QUICK, steady_s=0.0, tries=1)
    with in_turn(one_picture_each(), options, Hurried) as source:
        assert [frame.index for frame in first_frames(source, 8)] == list(range(8))
    assert set(source.waits) == {QUICK.backoff_s}


def test_a_device_that_is_away_at_the_start_is_waited_for(caplog):
    said, absent = [], SourceAbsentError("camera: not plugged in.")
    options = dataclasses.replace(QUICK, tries=None, waiting=said.append)
    with in_turn([absent, absent, OnDemand.ending(1)], options) as source:
        assert first_frames(source, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "camera: not plugged in. Waiting for it; trying again in 0.01 s, then less often.",
        "camera: frames come again, after 2 failures.",
    ]
    assert "waiting for camera: camera: not plugged in." in said


def test_a_device_that_is_away_is_an_error_where_nobody_has_the_patience():
    def away(options):
        return in_turn(itertools.repeat(SourceAbsentError("camera: not plugged in.")), options)

    for options in (dataclasses.replace(QUICK, tries=0), dataclasses.replace(QUICK, patient=False)):
        with pytest.raises(SourceError, match="not plugged in"):
            away(options).__enter__()
    with away(QUICK) as source, pytest.raises(SourceError, match="lost for good after 3 tries"):
        list(source)
    brief = dataclasses.replace(QUICK, first_tries=1)
    with away(brief) as source, pytest.raises(SourceError, match="lost for good after 1 tries"):
        list(source)


def hanging():
    device = OnDemand()
    device.hang()
    return device


def released(devices):
    for device in devices:
        device.release()
    for thread in readers():
        thread.join()


def test_a_driver_that_hangs_at_every_try_is_given_up(monkeypatch):
    monkeypatch.setattr("fer_edge.sources.newest._JOIN_S", 0.02)
    options = LiveOptions(first_frame_s=0.05, silence_s=0.05, tries=None, backoff_s=0.0)
    devices = [hanging() for _ in range(10)]
    with in_turn(devices, options) as source, pytest.raises(SourceError, match="hangs at every try"):
        list(source)
    assert len(readers()) == 3
    released(devices)


def test_entering_fails_at_once_when_the_device_cannot_be_opened():
    with pytest.raises(SourceError, match="RuntimeError: driver says no"):
        in_turn([RuntimeError("driver says\nno")], QUICK).__enter__()
    assert readers() == []


def test_entering_fails_when_no_first_frame_comes_in_time():
    with pytest.raises(SourceError, match=r"no frame for 0\.05 s"):
        OnDemand().source(LiveOptions(first_frame_s=0.05, tries=0)).__enter__()
    assert readers() == []


def test_leaving_while_it_waits_to_reopen_ends_the_iteration():
    """The wait would be longer than a test may take."""
    waits = threading.Event()
    day_s = 86400.0
    options = LiveOptions(
        tries=3, backoff_s=day_s, backoff_max_s=day_s, waiting=lambda text: text is not None and waits.set()
    )
    source = OnDemand.ending(1).source(options)
    source.__enter__()
    leaving = threading.Thread(target=lambda: (waits.wait(), source.__exit__(None, None, None)))
    leaving.start()
    assert len(list(source)) == 1
    leaving.join()


def test_a_hanging_driver_does_not_hang_the_program(caplog, monkeypatch):
    monkeypatch.setattr("fer_edge.sources.newest._JOIN_S", 0.05)
    device = OnDemand()
    device.allow(1)
    with device.source(QUICK) as source:
        first_frames(source, 1)
        device.wait_until_read()
        device.hang()
    assert "left behind" in caplog.text
    released([device])
    assert device.closed.is_set(), "the thread still frees its device once the driver lets go"


# --- V4L2 ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux")
@pytest.mark.parametrize("text", ["77", "/dev/video77", "/dev/v4l/by-id/nothing"])
def test_a_camera_that_is_not_there_is_told_on_entering(text):
    with pytest.raises(SourceError, match="does not exist"):
        open_source(text, LiveOptions(tries=0)).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux")
def test_a_second_csi_camera_by_index_names_the_source_to_use(tmp_path):
    (tmp_path / "video8").mkdir()
    (tmp_path / "video8" / "name").write_text("rp1-cfe-csi2_ch0\n")
    with pytest.raises(SourceError, match="picamera2:N"):
        open_source("8", sysfs=tmp_path).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux")
def test_a_device_that_is_no_camera_is_refused(tmp_path):
    not_a_camera = Path("/dev/v4l/../null")
    with pytest.raises(SourceError, match=r"refuses to open|does not exist"):
        open_source(str(not_a_camera), LiveOptions(tries=0)).__enter__()


class RawCapture:
    """A V4L2 capture as OpenCV 4.11 gives BGR3: one row of bytes. A stand-in, because a newer OpenCV is installed."""

    def __init__(self, fourcc: str, picture: np.ndarray, width_px: int) -> None:
        height = len(picture)
        self._row = picture.reshape(1, -1)
        self._facts = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*fourcc),
            cv2.CAP_PROP_FRAME_WIDTH: width_px,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
        }

    def get(self, number: int) -> float:
        return float(self._facts.get(number, 0))

    def grab(self) -> bool:
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self._row


class ComplainingCapture(RawCapture):
    """Opens whatever it is given; its decoder prints a line for each picture, as libjpeg does for damaged ones."""

    def __init__(self, *_device: object) -> None:
        super().__init__("MJPG", np.zeros((6, 8, 3), np.uint8), 8)

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        return True

    def set(self, number: int, value: float) -> bool:
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        os.write(2, b"Corrupt JPEG data: 1 extraneous bytes before marker 0xd9\n")
        return True, self._row.reshape(6, 8, 3)

    def release(self) -> None:
        return


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux")
def test_what_the_decoder_of_a_usb_camera_prints_stays_out_of_the_log(monkeypatch, capfd):
    monkeypatch.setattr(cv2, "VideoCapture", ComplainingCapture)
    with camera_source("/dev/null", QUICK) as source:
        assert first_frames(source, 3)[-1].image_bgr.shape == (6, 8, 3)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("padding", [0, 16])
def test_a_v4l2_camera_of_bgr_that_opencv_leaves_as_a_row_of_bytes_gives_its_picture(padding):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    rows = np.pad(picture.reshape(6, 24), ((0, 0), (0, padding)))
    shot = CaptureDevice(RawCapture("BGR3", rows, 8)).read()
    assert shot is not None and np.array_equal(shot.image_bgr, picture)


@pytest.mark.parametrize(("fourcc", "width_px"), [("Z16 ", 8), ("BGR3", 9)], ids=["another format", "another size"])
def test_bytes_that_are_no_picture_in_colour_are_refused_with_their_format(fourcc, width_px):
    with pytest.raises(SourceError, match=rf"expected pictures.*found \(1, 144\).*{fourcc}"):
        CaptureDevice(RawCapture(fourcc, np.zeros((6, 24), np.uint8), width_px)).read()


# --- CSI camera, by a fake of picamera2 ---------------------------------------------------------------------


@pytest.fixture
def picamera2(monkeypatch):
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    import picamera2

    yield picamera2.Picamera2
    del sys.modules["picamera2"]


@pytest.mark.parametrize(
    ("rgb", "bgr"), [((255, 0, 0), RED), ((0, 255, 0), GREEN), ((0, 0, 255), BLUE)], ids=["red", "green", "blue"]
)
def test_a_csi_camera_gives_bgr(picamera2, rgb, bgr):
    picamera2.scene_rgb = np.full((1, 1, 3), rgb, dtype=np.uint8)
    with open_source("picamera2", QUICK) as source:
        (frame,) = first_frames(source, 1)
    np.testing.assert_array_equal(frame.image_bgr, np.full((480, 640, 3), bgr, dtype=np.uint8))
    assert frame.image_bgr.flags.c_contiguous


def test_a_csi_camera_is_configured_small_and_given_back(picamera2):
    options = LiveOptions(width_px=320, height_px=240)
    with open_source("picamera2:0", options) as source:
        first_frames(source, 2)
    assert picamera2.log == [
        "open 0",
        "configure {'format': 'RGB888', 'size': (320, 240)} None 2 buffers",
        "start",
        "stop",
        "close",
    ]


def test_a_csi_camera_that_is_not_attached(picamera2):
    with pytest.raises(SourceError, match=r"libcamera sees 1 camera"):
        open_source("picamera2:1", LiveOptions(tries=0)).__enter__()


def test_a_csi_camera_gives_a_small_picture_of_the_same_moment_to_detect_in(picamera2):
    picamera2.scene_rgb = np.zeros((2, 2, 3), dtype=np.uint8)
    picamera2.scene_rgb[:, 0] = (255, 0, 0)
    picamera2.scene_rgb[:, 1] = (0, 0, 255)
    with open_source("picamera2", LiveOptions(width_px=600, height_px=400)) as source:
        (frame,) = first_frames(source, 1)
    assert frame.image_bgr.shape == (400, 600, 3)
    assert frame.small_bgr.shape == (214, 320, 3), "the shape of the large one, in even rows"
    # Red left and blue right in both; video levels are no exact match.
    np.testing.assert_allclose(frame.small_bgr[100, 20], RED, atol=6)
    np.testing.assert_allclose(frame.small_bgr[100, 300], BLUE, atol=6)


TWO_COLOURS = np.zeros((2, 2, 3), dtype=np.uint8)
TWO_COLOURS[:, 0] = (255, 0, 0)
TWO_COLOURS[1, 1] = (0, 0, 255)


@pytest.mark.parametrize("size", [(640, 480), (600, 400), (322, 242)])
@pytest.mark.parametrize(
    "layout",
    [
        *("RGB888", "BGR888", "XRGB8888", "XBGR8888", "RGB161616", "BGR161616"),
        *("YUYV", "UYVY", "YVYU", "NV12", "NV21", "YUV420", "YVU420", "MJPEG"),
    ],
)
def test_what_the_camera_gives_in_place_of_what_was_asked_is_converted(picamera2, layout, size):
    """As a USB camera does, and libcamera's virtual one; rows are padded."""
    picamera2.gives, picamera2.is_csi, picamera2.scene_rgb = (layout, size), False, TWO_COLOURS
    with open_source("picamera2", QUICK) as source:
        (frame,) = first_frames(source, 1)
    image = frame.image_bgr
    assert (image.shape, image.dtype, image.flags.c_contiguous) == ((size[1], size[0], 3), np.uint8, True)
    assert frame.small_bgr is None
    for place, colour in (((20, 20), RED), ((-20, -20), BLUE), ((20, -20), (0, 0, 0)), ((-1, -1), BLUE)):
        np.testing.assert_allclose(image[place], colour, atol=8)


def test_a_camera_of_greys_is_read(picamera2):
    picamera2.gives, picamera2.is_csi, picamera2.scene_rgb = ("R8", (640, 480)), False, np.full((1, 1, 3), 77, np.uint8)
    with open_source("picamera2", QUICK) as source:
        (frame,) = first_frames(source, 1)
    np.testing.assert_array_equal(frame.image_bgr, np.full((480, 640, 3), 77, np.uint8))


def test_a_format_nobody_converts_is_named(picamera2):
    picamera2.gives = ("SRGGB10_CSI2P", (640, 480))
    with pytest.raises(SourceError, match=r"gives SRGGB10_CSI2P, which cannot be converted; expected one of RGB888"):
        open_source("picamera2", QUICK).__enter__()
    assert picamera2.log[-1] == "close"


def test_a_damaged_picture_of_a_usb_camera_is_left_out(picamera2, caplog):
    picamera2.gives, picamera2.is_csi, picamera2.damages = ("MJPEG", (640, 480)), False, 5
    with open_source("picamera2", QUICK) as source:
        assert first_frames(source, 1)
    assert caplog.text.count("Left out.") == 1


def test_a_csi_camera_that_falls_silent_is_left_at_once_and_given_back(picamera2):
    picamera2.falls_silent = True
    with pytest.raises(SourceError, match="no frame"):
        open_source("picamera2", LiveOptions(first_frame_s=0.2, tries=0)).__enter__()
    assert readers() == [] and picamera2.log[-2:] == ["stop", "close"]


def test_an_odd_size_is_made_even_for_a_csi_camera(picamera2):
    with open_source("picamera2", LiveOptions(width_px=641, height_px=481)) as source:
        (frame,) = first_frames(source, 1)
    assert frame.image_bgr.shape == (480, 640, 3)


def test_both_pictures_of_a_csi_camera_are_turned(picamera2):
    picamera2.scene_rgb = TWO_COLOURS
    with open_source("picamera2", LiveOptions(width_px=600, height_px=400), rotation_deg=90, mirror=True) as source:
        (frame,) = first_frames(source, 1)
    assert (frame.image_bgr.shape, frame.small_bgr.shape) == ((600, 400, 3), (320, 214, 3))
    for image in (frame.image_bgr, frame.small_bgr):
        np.testing.assert_allclose([image[20, 20], image[20, -20]], [RED, RED], atol=8)
        np.testing.assert_allclose([image[-20, -20], image[-20, 20]], [BLUE, (0, 0, 0)], atol=8)


def test_a_camera_of_512_mb_is_asked_for_one_buffer(picamera2):
    with open_source("picamera2", LiveOptions(buffer_count=1)) as source:
        first_frames(source, 1)
    assert "1 buffers" in picamera2.log[1]


def test_a_csi_camera_that_another_program_holds(picamera2, tmp_path):
    """In two processes, as on a board; only the lock is the fake's."""
    lock = str(tmp_path / "camera0")
    environ = {**os.environ, "FAKE_PICAMERA2_LOCK": lock, "PYTHONPATH": os.pathsep.join([FAKES, *sys.path])}
    command = [sys.executable, "-m", "fer_edge", "--source", "picamera2", "--quiet", "--tries", "0"]
    picamera2.lock_path = lock
    with open_source("picamera2", QUICK) as source:
        first_frames(source, 1)
        second = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert second.returncode == 3
    assert "another program" in second.stderr and len(second.stderr.splitlines()) == 1


def test_a_missing_picamera2_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match=r"apt install python3-picamera2.*--system-site-packages"):
        open_source("picamera2").__enter__()


# --- Streams, against a real server on loopback -------------------------------------------------------------


def test_a_stream_is_read_and_its_password_shown_nowhere(caplog):
    caplog.set_level(logging.DEBUG)
    with MjpegServer() as server:
        address = f"http://viewer:hunter2@127.0.0.1:{server.port}/live?token=s3cr3t"
        with open_source(address, QUICK) as source:
            frames = first_frames(source, 5)
    assert all(index_of(frame.image_bgr) == frame.index % 25 for frame in frames)
    shown = f"{source.name} {frames[0].source} {caplog.text} {[thread.name for thread in threading.enumerate()]}"
    assert "hunter2" not in shown and "s3cr3t" not in shown
    assert source.name == f"http://***@127.0.0.1:{server.port}/live?***"


def test_a_stream_comes_back_when_its_server_does(caplog):
    port = free_port()
    waits = threading.Event()
    patient = dataclasses.replace(QUICK, tries=None, waiting=lambda text: text is not None and waits.set())
    with ExitStack() as servers:
        first = servers.enter_context(MjpegServer(port))
        with open_source(f"http://127.0.0.1:{port}/", patient) as source:
            frames = iter(source)
            before = [next(frames).index for _ in range(3)]
            first.stop()
            back = threading.Thread(target=lambda: (waits.wait(), servers.enter_context(MjpegServer(port))))
            back.start()
            # More than one, because what was read before the server died may still be given first.
            after = [next(frames).index for _ in range(10)]
            back.join()
    assert before + after == sorted(set(before + after)), "the index goes on across the gap"
    assert "Waiting for it" in caplog.text and "frames come again" in caplog.text


def test_a_stream_whose_server_never_comes_back_is_lost_for_good():
    with MjpegServer() as server:
        source = open_source(f"http://me:hunter2@127.0.0.1:{server.port}/", QUICK)
        source.__enter__()
    with pytest.raises(SourceError, match=r"lost for good.*no answer from 127\.0\.0\.1") as lost:
        list(source)
    source.__exit__(None, None, None)
    assert "hunter2" not in str(lost.value) and lost.value.exit_code == 3


def test_a_host_that_does_not_answer_is_told_on_entering():
    with pytest.raises(SourceError, match=r"no answer from 127\.0\.0\.1 port \d+ \(Connection refused\)"):
        open_source(f"http://127.0.0.1:{free_port()}/", dataclasses.replace(QUICK, tries=0)).__enter__()


def test_a_host_that_answers_without_video_is_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = LiveOptions(first_frame_s=2.0)
        with pytest.raises(SourceError, match="answers, but sends no video"):
            open_source(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/", options).__enter__()


@pytest.mark.parametrize("address", ["http://me:a/b@127.0.0.1/", "http://host:port/", "rtsp://me:1@2/3@127.0.0.1/"])
def test_a_malformed_address_is_explained_without_its_password(address):
    with pytest.raises(SourceError, match="%XX") as refused:
        open_source(address, QUICK).__enter__()
    assert "2/3" not in str(refused.value) and "a/b" not in str(refused.value)


def test_a_video_file_behind_http_is_read_once_to_its_end(tmp_path):
    """It has an end, so that end is no loss: nothing is opened again and no frame is told twice."""
    write_video(tmp_path / "clip.avi", [numbered(index) for index in range(8)])
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with open_source(f"http://127.0.0.1:{server.server_port}/clip.avi") as source:
            indices = [frame.index for frame in source]
    finally:
        server.shutdown()
        server.server_close()
    assert indices == sorted(set(indices))
    assert max(indices) <= 7
