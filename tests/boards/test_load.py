"""The load test itself: that it counts what arrives, and says so when something does not."""

import csv
import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fer_edge.csv_tables import read_csv
from fer_edge.errors import UsageError

from boards.load import LoadRow, run, table, write_load
from boards.load.run import Viewer, Watch, _scrape, measure_load, mosquitto
from tests.runtime.fakes.servers import has_mosquitto

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is absent; the extra `mqtt` brings it")


@pytest.mark.slow
@pytest.mark.usefixtures("mediapipe_file")
def test_all_frames_arrive_everywhere_and_who_does_not_fit_is_told(clip, tmp_path):
    if not has_mosquitto() or shutil.which("ffmpeg") is None:
        pytest.skip("mosquitto or ffmpeg is absent; `apt install mosquitto ffmpeg` brings them")
    row = measure_load(clip, seconds=3, viewers=3, max_viewers=2)
    assert row.is_complete, row
    assert row.frames > 60 and row.events_received >= 1 and row.scrapes >= 1
    assert (row.viewers_served, row.viewers_told_no_room) == (2, 1)
    assert row.pictures_fps > 1 and row.rss_max_mb > 20 and row.total_p99_ms >= row.total_p50_ms > 0
    write_load(tmp_path / "load.csv", [row, dataclasses.replace(row, pictures_fps=None)])
    lines = table(tmp_path / "load.csv").splitlines()
    assert len(lines) == 4 and lines[2].startswith("| 3 | 2 | 1 |") and len({line.count("|") for line in lines}) == 1


def test_the_documented_figures_are_those_of_the_last_run_and_nothing_was_lost():
    measured = Path("docs/measured/load.csv")
    assert table(measured) in Path("docs/service.md").read_text()
    with open(measured, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["viewers_asked"] for row in rows] == ["0", "20"]
    for row in rows:
        assert row["frames"] == row["jsonl_lines"] and row["events_expected"] == row["events_received"]
        assert {row[key] for key in ("results_lost", "scrapes_failed", "viewers_without_answer", "exit_code")} == {"0"}


@pytest.fixture
def row() -> LoadRow:
    """The last run that is in docs/: one of twenty viewers where eight fit."""
    return list(read_csv(Path("docs/measured/load.csv"), LoadRow))[-1]


@pytest.mark.parametrize(
    "loss",
    [
        {"jsonl_lines": 1},
        {"csv_rows": 1},
        {"events_received": 1},
        {"recorded_s": 1.0},
        {"results_lost": 1},
        {"scrapes_failed": 1},
        {"viewers_without_answer": 1},
        {"exit_code": 1},
    ],
    ids=lambda loss: next(iter(loss)),
)
def test_a_run_that_lost_anything_is_not_complete(row: LoadRow, loss: dict[str, float]) -> None:
    assert row.is_complete
    assert not dataclasses.replace(row, **loss).is_complete  # type: ignore[arg-type]


def test_a_viewer_who_is_told_that_there_is_no_room_loses_nothing(row: LoadRow) -> None:
    assert (row.viewers_asked, row.max_viewers) == (20, 8)
    assert row.viewers_served == 8 and row.viewers_told_no_room == 12


def test_a_recording_may_be_two_frames_off_and_no_more(row: LoadRow) -> None:
    assert dataclasses.replace(row, recorded_s=row.source_s + 0.1).is_complete
    assert not dataclasses.replace(row, recorded_s=row.source_s + 0.2).is_complete


def test_the_rate_of_a_viewer_is_over_the_time_it_was_served() -> None:
    assert Viewer(pictures=31, first_s=10.0, last_s=12.0).fps == 15
    assert Viewer().fps is None
    assert Viewer(pictures=2, first_s=10.0, last_s=10.5).fps is None, "too short to tell"


def test_what_arrived_is_counted_from_the_files_and_the_witnesses(
    tmp_path: Path, row: LoadRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two frames with one face, which appears and changes: two lines, two rows, two events."""
    monkeypatch.setattr(run, "_length_s", lambda path: 0.04)
    face = {"track_id": 1, "expression": "happy", "confidence": 0.9}
    results = [
        {"frame_index": index, "time_s": index / 25, "faces": [{**face, "expression": name}], "stage_ms": {"total": ms}}
        for index, (name, ms) in enumerate((("happy", 2.0), ("sad", 4.0)))
    ]
    (tmp_path / "faces.jsonl").write_text("".join(f"{json.dumps(result)}\n" for result in results))
    (tmp_path / "faces.csv").write_text("frame_index\n0\n1\n")
    served, refused = Viewer(pictures=51, events=9, first_s=0.0, last_s=2.0), Viewer(told=3)
    watch = Watch([served, refused], events=2, scrapes=4, rss_mb=[90.0, 120.0], cpu_s=1.0, loads=[0.5, 1.5])
    counted = run._row(tmp_path, 2, watch, 1, 4.0, 0, datetime(2026, 11, 27, tzinfo=timezone.utc))
    assert counted.is_complete
    assert (counted.jsonl_lines, counted.csv_rows, counted.events_expected) == (2, 2, 2)
    assert (counted.viewers_served, counted.viewers_told_no_room, counted.viewers_without_answer) == (1, 1, 0)
    assert (counted.pictures_fps, counted.total_p50_ms, counted.rss_max_mb, counted.cpu_percent) == (25, 3, 120, 25)
    assert not dataclasses.replace(counted, csv_rows=1).is_complete


def test_a_scrape_that_fails_counts_unless_it_is_the_last(tmp_path: Path, row: LoadRow) -> None:
    """The program may end between the last two."""
    watch = Watch([])
    _scrape(9, watch)  # nobody listens there
    _scrape(9, watch)
    assert (watch.scrapes, watch.scrapes_failed, watch.unanswered) == (0, 0, 2)
    with one_page(
        b'fer_edge_lost_results_total{sink="csv"} 2.0\nfer_edge_lost_results_total{sink="web"} 1.0\n'
    ) as port:
        _scrape(port, watch)
    assert (watch.scrapes, watch.scrapes_failed, watch.unanswered, watch.lost) == (1, 2, 0, 3)


@contextmanager
def one_page(text: bytes) -> Iterator[int]:
    """A server that answers every request with one text; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *rest: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_without_ffmpeg_or_a_broker_the_run_says_what_to_install(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *rest, **how: None)
    with pytest.raises(UsageError, match="ffmpeg is needed to repeat the clip: apt install ffmpeg"):
        measure_load(clip, seconds=1, viewers=0, max_viewers=1)
    with pytest.raises(UsageError, match="mosquitto is needed as a broker: apt install mosquitto"), mosquitto(1):
        pass
