"""The comparison with fer: ratios frame by frame, and frames that fill the picture."""

import csv
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_edge.errors import DataError

from boards import compare as comparing
from boards.compare import Contestant, _filled, _frames, _row, compare, lines, table, write_loop
from boards.workers import DEFAULT, OURS, PEER


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


# --- turns ------------------------------------------------------------------------------------------------------------

# Answers at once, a millisecond more for each frame, and notes which frame it was asked for.
WORKER = """
import json, sys
name, notes = sys.argv[1], sys.argv[-1]
print(json.dumps({"start_s": 1.5, "start_cpu_s": 0.5}), flush=True)
for line in sys.stdin:
    with open(notes, "a") as stream:
        stream.write(f"{name} {int(line)}\\n")
    slow = 10 if name == "fer" else 1
    print(json.dumps({"ms": slow * (1 + int(line)), "cpu_ms": slow, "faces": 1, "rss_mb": 80.0}), flush=True)
"""


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Compare with workers that are a few lines of Python; gives the rows, and who was asked for which frame."""
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(comparing, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(comparing, "_frames", lambda clip, count: np.zeros((count, 1), np.uint8))
    monkeypatch.setattr(comparing, "installed_mb", lambda: 250.0)

    def run(n: int, warmup: int) -> tuple[list[comparing.LoopRow], list[str]]:
        files = [tmp_path / "net.onnx", tmp_path / "notes"]
        rows = compare(Path("clip.mp4"), sys.executable, files, n=n, warmup=warmup, core=min(os.sched_getaffinity(0)))
        return rows, (tmp_path / "notes").read_text().splitlines()

    return run


def test_all_see_the_same_frames_ten_at_a_time_and_fer_is_the_first(turns) -> None:
    rows, notes = turns(n=8, warmup=4)
    names = (PEER, *OURS)
    first = [f"{name} {frame}" for name in names for frame in range(10)]
    assert notes == first + [f"{name} {frame}" for name in names for frame in (10, 11)]
    assert [row.contestant for row in rows] == list(names)


def test_frames_of_the_warm_up_count_for_nobody(turns) -> None:
    rows, _ = turns(n=8, warmup=4)
    assert {row.n for row in rows} == {8}
    ours = rows[1]
    assert (ours.min_ms, ours.times_peer, ours.times_peer_cpu, ours.times_peer_cpu_all) == (5.0, 10.0, 10.0, 10.0)
    assert [row.installed_mb for row in rows] == [None, 250.0, None, None, None]
    head, *shown = lines(rows)
    assert len(shown) == 5 and sum("250 MB installed" in line for line in shown) == 1
    assert len(head.split("x fer")[0]) <= len(shown[0])


def test_a_dear_frame_counts_as_it_costs_in_the_ratio_of_all_frames() -> None:
    ours, theirs = answers([2, 2, 2, 200]), answers([20, 20, 20, 20])
    row = _row(contestant(DEFAULT), ours, theirs, 250.0)
    assert row.times_peer_cpu == 10 and row.times_peer_cpu_all == pytest.approx(80 / 206)


def test_the_least_time_is_of_a_frame_with_a_face() -> None:
    seen = answers([1, 4, 5])
    seen[0]["faces"] = 0
    row = _row(contestant(DEFAULT), seen, answers([10, 10, 10]), 250.0)
    assert (row.min_ms, row.frames_with_one_face) == (4, 2)
