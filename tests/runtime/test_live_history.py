"""The last day on the web page, in bounded memory."""

import csv
import json

from fer_edge.sinks.live_view import LiveHistory

from tests.runtime.fakes.results import LABELS, face, taken


class Clock:
    def __init__(self, now_s: float = 6000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def history_of(*moments) -> LiveHistory:
    """Each moment is (seconds from the start, faces)."""
    clock = Clock()
    history = LiveHistory(clock_s=clock)
    for since_s, faces in moments:
        clock.now_s = 6000.0 + since_s
        history.add(taken(0, *faces)[1])
    return history


def test_expressions_are_counted_minute_by_minute():
    history = history_of((0, [face("happy")]), (30, [face("sad"), face("happy")]), (61, []))
    minutes = history.as_object()["minutes"]
    assert minutes == [[6000, 2, 2, {"happy": 2, "sad": 1}], [6060, 1, 0, {}]]


def test_a_visit_lasts_from_the_first_to_the_last_time_a_track_was_seen():
    history = history_of((0, [face("sad", track_id=3)]), (5, [face("happy", track_id=3)]), (9, [face(track_id=3)]))
    assert history.as_object()["visits"] == [[3, 6000.0, 6009.0, "happy"]]


def test_a_slip_of_the_detector_is_no_visit():
    assert history_of((0, [face(track_id=3)]), (5, [])).as_object()["visits"] == []


def test_months_take_no_more_memory_than_a_day():
    history = history_of(*((60.0 * minute, [face(track_id=minute)]) for minute in range(5000)))
    found = history.as_object()
    assert len(found["minutes"]) == 1440 and len(found["visits"]) <= 50
    assert found["minutes"][-1][0] == 6000 + 60 * 4999
    assert len(json.dumps(found)) < 200_000


def test_a_clock_that_is_set_back_loses_nothing():
    history = history_of((120, [face("happy")]), (0, [face("happy")]))
    assert history.as_object()["minutes"] == [[6120, 2, 1, {"happy": 2}]]


def test_the_minutes_are_a_table():
    rows = list(csv.DictReader(history_of((0, [face("happy")]), (61, [])).as_csv(LABELS).splitlines()))
    assert [row["minute"] for row in rows] == ["1970-01-01T01:40:00Z", "1970-01-01T01:41:00Z"]
    assert (rows[0]["happy"], rows[0]["sad"], rows[0]["most_faces"]) == ("1", "0", "1")
