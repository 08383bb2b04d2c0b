"""The web page's server: what it gives, to whom, and how little it keeps."""

import dataclasses
import http.client
import json
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from fer_edge.board import BoardState
from fer_edge.errors import UsageError
from fer_edge.frames import Box
from fer_edge.pictures import Pictures
from fer_edge.program.vitals import Vitals
from fer_edge.serving import server
from fer_edge.sinks import live_view
from fer_edge.sinks.live_view import LiveView

from tests.runtime.fakes.feeding import feeding
from tests.runtime.fakes.results import face, face_of_values, taken, taken_of_values
from tests.waiting import TIMEOUT_S, eventually

pytest.importorskip("microdot", reason="microdot is absent; the extra `web` brings it")

from fer_edge.sinks.web import WebSink

VITALS = Vitals(14.5, 15.0, 1, BoardState(51.5, None, False, 90.0), 0, {"jsonl": 0})
TOKEN = "correct-horse-battery"


def web(address="0", token=None, privacy="none", **rest):
    return WebSink(address, token, Pictures(privacy), lambda: VITALS, **rest)


@contextmanager
def asked(sink, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", sink.server.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


def status(sink, path, **headers):
    with asked(sink, path, **headers) as response:
        return response.status


def next_event(response):
    while True:
        line = response.fp.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))


def next_picture(response):
    while (line := response.fp.readline()).strip() != b"":
        assert line, "the stream ended"
        if line.lower().startswith(b"content-length"):
            length = int(line.split(b":")[1])
    data = response.fp.read(length)
    response.fp.readline()
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def scene(index, colour=(40, 90, 160), faces=()):
    frame, result = taken(index, *faces, width=320, height=240)
    frame.image_bgr[:] = colour
    return frame, result


def test_the_page_and_its_parts_are_there_and_load_nothing_from_elsewhere(capsys):
    with web() as sink:
        for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
            with asked(sink, path) as response:
                assert response.status == 200 and response.headers["Content-Type"].startswith(kind)
                assert "default-src 'self'" in response.headers["Content-Security-Policy"]
                assert response.headers["Cache-Control"] == "no-store"
                text = response.read().decode()
                assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text
        assert status(sink, "/nothing") == 404
    assert f"http://127.0.0.1:{sink.server.port}/" in capsys.readouterr().err


@pytest.fixture
def every_frame(monkeypatch):
    """Each frame is one for the page, however soon it comes behind the one before."""
    monkeypatch.setattr(live_view, "PERIOD_S", 0.0)
    monkeypatch.setattr(live_view, "_PICTURE_PERIOD_S", 0.0)


def test_results_come_as_events_with_the_past_first(every_frame):
    with web() as sink:
        for index in range(3):
            sink.write(*taken(index, face("sad")))
        with feeding(sink, taken(9, face("happy", 0.79, track_id=4))), asked(sink, "/events") as response:
            first, second = next_event(response), next_event(response)
    assert len(first["history"]) >= 3 and "history" not in second
    (seen,) = second["faces"]
    assert (seen["id"], seen["expression"], seen["confidence"], len(seen["p"])) == (4, "happy", 0.79, 7)
    assert (second["fps"], second["temp_c"], second["limit_fps"]) == (14.5, 51.5, 15.0)
    assert second["stage_ms"] == {"detect": 4.25, "total": 6.5}
    assert dict(second["labels"])["happy"] == "#f0e442"
    assert (second["task"]["kind"], seen["strength"]) == ("classes", "79%")
    assert second["names"] == second["labels"]


def test_values_come_with_their_scales_their_anchors_and_their_past(every_frame):
    with web() as sink:
        sink.write(*taken_of_values(0, face_of_values((-0.5, 0.25))))
        with (
            feeding(sink, taken_of_values(1, face_of_values((0.75, 0.5), name="happiness"))),
            asked(sink, "/events") as response,
        ):
            state = next_event(response)
    assert [label for label, _ in state["labels"]] == ["valence", "arousal"]
    assert (state["task"]["kind"], state["task"]["low"], state["task"]["high"]) == ("values", -1, 1)
    assert state["task"]["anchors"]["happiness"] == [0.8, 0.5] and set(dict(state["names"])) == set(
        state["task"]["anchors"]
    )
    assert state["faces"][0]["strength"] == "+0.75 +0.50"
    assert state["history"][0]["faces"] == [[1, "anger", [-0.5, 0.25]]]


def test_the_picture_moves_and_is_annotated():
    with (
        web() as sink,
        feeding(sink, scene(0, (0, 0, 200), [face(box=Box(80, 80, 60, 60))]), scene(1, (200, 0, 0))),
        asked(sink, "/stream.mjpg") as response,
    ):
        pictures = [next_picture(response) for _ in range(12)]
    tones = {tuple(int(value > 100) for value in picture[5, 5]) for picture in pictures}
    assert tones == {(0, 0, 1), (1, 0, 0)}
    red = next(picture for picture in pictures if picture[5, 5, 2] > 100)
    assert red[110, 80, 1] > 120, "the box of a happy face is yellow"


def test_nothing_is_drawn_or_encoded_while_nobody_looks(every_frame):
    with web() as sink:
        for index in range(5):
            sink.write(*scene(index))
        assert sink.view.jpeg() == (0, b"")
        with feeding(sink, scene(9)), asked(sink, "/stream.mjpg") as response:
            next_picture(response)
            assert sink.view.viewers == 1


def test_a_viewer_who_leaves_is_forgotten():
    with web() as sink, feeding(sink, scene(0), scene(1)):
        with asked(sink, "/stream.mjpg") as response:
            next_picture(response)
        eventually(lambda: sink.view.viewers == 0)


def test_a_viewer_on_a_slow_line_gets_the_newest_picture_and_holds_nothing_up(every_frame):
    """Pictures that are large as JPEG, and more of them than the sockets between could hold."""
    frame, result = taken(0, width=640, height=480)
    frame.image_bgr[:] = np.random.default_rng(0).integers(0, 256, frame.image_bgr.shape, np.uint8)
    read = 0
    with web() as sink, asked(sink, "/stream.mjpg") as response:
        eventually(lambda: sink.view.viewers == 1)
        for _ in range(300):  # nobody reads meanwhile
            sink.write(dataclasses.replace(frame, read_at_s=time.monotonic()), result)
        with feeding(sink, scene(300, (0, 0, 200))):
            while next_picture(response).shape == frame.image_bgr.shape:
                read += 1
    assert read < 300


def test_leaving_ends_open_streams_and_the_thread(monkeypatch):
    """By themselves, and not because somebody would wait no longer."""
    monkeypatch.setattr(server, "_FAREWELL_S", TIMEOUT_S)
    monkeypatch.setattr(server, "_JOIN_S", TIMEOUT_S / 2)
    with web() as sink, feeding(sink, scene(0)), asked(sink, "/events") as events, asked(sink, "/stream.mjpg") as mjpg:
        next_event(events)
        next_picture(mjpg)
        sink.__exit__(None, None, None)
        assert not [thread for thread in threading.enumerate() if thread.name == "web server"]


def test_numbers_shows_no_picture_but_all_the_rest():
    with web(privacy="numbers") as sink, feeding(sink, scene(0, faces=[face()])):
        assert status(sink, "/stream.mjpg") == 403
        with asked(sink, "/events") as response:
            state = next_event(response)
    assert state["privacy"] == "numbers" and state["faces"][0]["expression"] == "happy"


def test_blur_hides_the_face_in_the_picture_shown():
    frame, result = scene(0, faces=[face(box=Box(120, 80, 80, 80))])
    frame.image_bgr[::2] = 255
    with (
        web(privacy="blur") as sink,
        feeding(sink, (frame, result)),
        asked(sink, "/stream.mjpg") as response,
    ):
        picture = next_picture(response)
    assert np.std(picture[95:145, 130:190].astype(float), axis=0).mean() < 15
    assert np.std(picture[5:30, 5:30].astype(float), axis=0).mean() > 60, "the rest stays"


# --- Privacy of pictures, wherever they go ------------------------------------------------------------------


def test_the_last_viewer_takes_the_picture_along():
    """Who left long ago must not be on the page of who comes next."""
    now_s = [0.0]
    view = LiveView(Pictures(), lambda: VITALS, clock_s=lambda: now_s[0])
    frame, result = taken(0, face())
    frame = dataclasses.replace(frame, read_at_s=0.0)
    view.join()
    view.join()
    view.put(frame, result)
    assert view.jpeg()[1] and view.state(with_history=False)["picture_age_s"] is None
    view.leave()
    assert view.jpeg()[1], "one still looks"
    view.leave()
    view.join()
    assert view.jpeg() == (0, b"")


def test_the_page_is_told_how_old_its_picture_is_and_nobody_is_sent_one_of_ten_seconds_ago():
    now_s = [100.0]
    view = LiveView(Pictures("blur"), lambda: VITALS, clock_s=lambda: now_s[0])
    view.join()
    frame, result = taken(0, face())
    view.put(dataclasses.replace(frame, read_at_s=100.0), result)
    for index in range(1, 5):
        now_s[0] += 1.0
        unseen, result = taken(index, face())
        view.put(dataclasses.replace(unseen, read_at_s=now_s[0]), dataclasses.replace(result, detected=False))
    assert view.state(with_history=False)["picture_age_s"] == 4.0
    assert view.jpeg()[1]
    now_s[0] += 7.0
    assert view.jpeg() == (0, b"")


def test_two_sinks_that_want_the_same_picture_have_it_drawn_once():
    pictures = Pictures()
    frame, result = scene(0, faces=[face()])
    assert pictures.of(frame, result) is pictures.of(frame, result)


# --- Who may see --------------------------------------------------------------------------------------------


def test_any_other_address_makes_a_token_and_prints_it_once(capsys):
    with web("0.0.0.0:0") as sink:
        token = sink.access.token
        assert len(token) >= 20
        for path in ("/", "/page.js", "/events", "/stream.mjpg", "/?token=wrong", "/events?token=wrong"):
            assert status(sink, path) == 401, path
        with asked(sink, f"/?token={token}") as response:
            assert response.status == 302 and response.headers["Location"] == "/"
            cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite" in cookie
        assert status(sink, "/", Cookie=cookie.split(";")[0]) == 200
        assert status(sink, "/page.js", Authorization=f"Bearer {token}") == 200
    assert capsys.readouterr().err.count(token) == 1


def test_a_token_of_ones_own_is_not_printed(capsys):
    with web("0.0.0.0:0", TOKEN) as sink:
        assert status(sink, "/") == 401
        assert status(sink, "/page.js?token=" + TOKEN) == 200
    assert TOKEN not in capsys.readouterr().err


@pytest.mark.parametrize("token", ["", "short", "with spaces in it", "semicolon;semicolon", "ümläute-sind-lang"])
def test_a_token_that_could_be_guessed_or_is_no_token_is_refused(token):
    with pytest.raises(UsageError, match="--web-token"):
        web("0.0.0.0:0", token)


# --- What is kept -------------------------------------------------------------------------------------------


def test_a_run_of_months_keeps_two_minutes_of_past():
    now_s = [0.0]
    view = LiveView(Pictures(), lambda: VITALS, clock_s=lambda: now_s[0])
    for index in range(5000):
        now_s[0] = index * 0.1
        view.put(*taken(index, face(track_id=index)))
    history = view.state(with_history=True)["history"]
    assert len(history) == 480
    assert history[-1]["t"] - history[0]["t"] == pytest.approx(120, rel=0.3)
