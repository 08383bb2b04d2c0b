"""The load test itself: that it counts what arrives, and says so when something does not."""

import csv
import dataclasses
import shutil
from pathlib import Path

import pytest

from boards.load import table, write_load
from boards.load.run import measure_load
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
    for loss in ({"jsonl_lines": row.frames - 1}, {"events_received": 0}, {"exit_code": 2}, {"csv_rows": 0}):
        assert not dataclasses.replace(row, **loss).is_complete
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
