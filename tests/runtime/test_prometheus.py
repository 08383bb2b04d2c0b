"""/metrics: what Prometheus reads there."""

import urllib.error
import urllib.request

import pytest

from fer_edge.board import BoardState
from fer_edge.errors import UsageError
from fer_edge.program.vitals import Vitals

from tests.runtime.fakes.results import face, taken

parser = pytest.importorskip("prometheus_client.parser", reason="the extra `metrics` is absent")
pytest.importorskip("microdot", reason="the extra `metrics` is absent")

from fer_edge.sinks.prometheus import MetricsSink  # noqa: E402

VITALS = Vitals(14.5, None, 2, BoardState(51.5, None, True, 90.0), 3, {"jsonl /x": 7})


def read(sink, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{sink.server.port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = response.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_frames_faces_stages_and_health_are_counted():
    with MetricsSink("0", None, lambda: VITALS) as sink:
        for index in range(4):
            sink.write(*taken(index, face("happy"), face("sad", 0.4)))
        found = read(sink)
    assert found["fer_edge_frames_total",] == 4
    assert found["fer_edge_expressions_total", "happy"] == 4
    assert found["fer_edge_faces",] == 2
    assert found["fer_edge_stage_seconds_count", "detect"] == 4
    assert found["fer_edge_stage_seconds_sum", "detect"] == pytest.approx(4 * 0.00425)
    assert found["fer_edge_board_temperature_celsius",] == 51.5
    assert found["fer_edge_board_throttled",] == 1
    assert found["fer_edge_detector_failures_total",] == 3
    assert found["fer_edge_lost_results_total", "jsonl"] == 7
    assert found["fer_edge_frame_age_seconds_count",] == 4


def test_the_age_of_the_newest_picture_grows_and_is_absent_before_the_first():
    with MetricsSink("0", None, lambda: VITALS) as sink:
        assert ("fer_edge_picture_age_seconds",) not in read(sink)
        sink.write(*taken(0))
        first = read(sink)["fer_edge_picture_age_seconds",]
        assert 0 <= first <= read(sink)["fer_edge_picture_age_seconds",]


def test_a_probe_the_board_has_not_is_absent_and_not_zero():
    bare = Vitals(0.0, None, 0, BoardState(None, None, None, None))
    with MetricsSink("0", None, lambda: bare) as sink:
        found = read(sink)
    assert ("fer_edge_board_temperature_celsius",) not in found
    assert ("fer_edge_board_throttled",) not in found


def test_away_from_loopback_it_wants_the_token_as_a_bearer():
    with MetricsSink("0.0.0.0:0", "correct-horse-battery", lambda: VITALS) as sink:
        with pytest.raises(urllib.error.HTTPError) as refused:
            read(sink)
        assert refused.value.code == 401
        assert read(sink, Authorization="Bearer correct-horse-battery")["fer_edge_fps",] == 14.5


def test_a_token_made_here_is_printed_once(capsys):
    with MetricsSink("0.0.0.0:0", None, lambda: VITALS) as sink:
        token = sink.server.access.token
        assert read(sink, Authorization=f"Bearer {token}")["fer_edge_fps",] == 14.5
    assert capsys.readouterr().err.count(token) == 1


def test_a_port_that_is_taken_is_a_usage_error():
    with (
        MetricsSink("0", None, lambda: VITALS) as sink,
        pytest.raises(UsageError, match=r"cannot listen on .*already in use"),
    ):
        MetricsSink(str(sink.server.port), None, lambda: VITALS).__enter__()
