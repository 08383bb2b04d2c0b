"""The comparison with fer: ratios frame by frame, and frames that fill the picture."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_edge.errors import DataError

from boards.compare import Contestant, _filled, _frames, _row, table, write_loop
from boards.workers import DEFAULT, PEER


def answers(times_ms: list[float]) -> list[dict[str, float]]:
    return [{"ms": ms, "cpu_ms": ms / 2, "faces": 1, "rss_mb": 80.0} for ms in times_ms]


def contestant(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, start={"start_s": 1.0, "start_cpu_s": 0.5})


def test_the_ratio_is_the_median_of_the_frames_ratios() -> None:
    """One frame that the machine was busy with changes nothing."""
    row = _row(contestant(DEFAULT), answers([10, 5, 900, 10, 10]), answers([100, 100, 100, 100, 100]), 250.0)
    assert (row.times_peer, row.times_peer_cpu, row.min_ms, row.p50_ms, row.n) == (10, 10, 5, 10, 5)


def test_a_wide_frame_fills_the_picture_with_its_right_part() -> None:
    wide = np.zeros((360, 640, 3), np.uint8)
    wide[:, -10:] = 255
    filled = _filled(wide)
    assert filled.shape == (480, 640, 3)
    assert filled[:, -5:].min() == 255 and filled[:, :600].max() == 0


def test_rows_are_written_and_shown(tmp_path: Path) -> None:
    peer = answers([120, 120])
    rows = [_row(contestant(PEER), peer, peer, 250.0), _row(contestant(DEFAULT), answers([10, 10]), peer, 250.0)]
    write_loop(tmp_path / "loop.csv", rows)
    with open(tmp_path / "loop.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [row["installed_mb"] for row in read] == ["", "250.0000"]
    assert float(read[1]["times_peer"]) == pytest.approx(12)
    assert "| as it runs | 5.0 | 12.0 | 12.0 | 80 |" in table(tmp_path / "loop.csv")


def test_a_contestant_answers_each_frame_with_its_times_and_faces(clip: Path, tmp_path: Path) -> None:
    """A worker process as `make compare` starts it: the loop as fer-edge runs it without a flag."""
    _frames(clip, 3).tofile(tmp_path / "frames")
    worker = Contestant(DEFAULT, sys.executable, [str(tmp_path / "frames")], core=0)
    for frame in range(3):
        worker.ask(frame)
    worker.close()
    assert worker.start["start_s"] > worker.start["start_cpu_s"] / 2 > 0
    assert [answer["faces"] for answer in worker.answers] == [1, 1, 1]
    assert all(answer["ms"] > 0 and answer["cpu_ms"] > 0 and answer["rss_mb"] > 20 for answer in worker.answers)


def test_a_worker_that_ends_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as it runs: the worker ended"):
        Contestant(DEFAULT, sys.executable, [str(tmp_path / "absent")], core=0)


def test_a_clip_too_short_for_the_frames_asked_for_is_refused(clip: Path) -> None:
    with pytest.raises(DataError, match=r"\d+ frames, expected 100000\. Ask for fewer with -n"):
        _frames(clip, 100_000)
