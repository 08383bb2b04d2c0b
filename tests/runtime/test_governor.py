"""Holding a rate: pacing, less work where the board is too slow, fewer frames where it throttles."""

import itertools
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from fer_edge.board import BoardState
from fer_edge.looking_range import FixedRange
from fer_edge.program.governor import EFFORTS, RateGovernor
from fer_edge.program.loop import BoardMonitor

from tests.waiting import eventually

COOL, HOT = BoardState(50.0, None, False, None), BoardState(86.0, None, True, None)


@dataclass
class Board:
    """A board whose detector takes `detect_s` and everything else `rest_s` a frame; time passes only as it works."""

    detect_s: float
    rest_s: float = 0.002
    target_fps: float | None = 15.0
    paced: bool = True
    now_s: float = 0.0
    state: BoardState = COOL
    taken_at_s: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.pipeline = SimpleNamespace(
            finder=SimpleNamespace(schedule=SimpleNamespace(stretch=1), pixel_step=1, looks=FixedRange(320)),
            turns=SimpleNamespace(budget_s=None),
        )
        self.governor = RateGovernor(
            self.pipeline, self.target_fps, paced=self.paced, clock_s=lambda: self.now_s, sleep=self._sleep
        )

    def _sleep(self, seconds):
        assert seconds > 0
        self.now_s += seconds

    def run(self, seconds):
        """Frames for so long; the rate of the last two thirds."""
        end_s, frame = self.now_s + seconds, 0
        begin = len(self.taken_at_s)
        while self.now_s < end_s:
            self.governor.wait()
            self.taken_at_s.append(self.now_s)
            busy_s = self.rest_s + (self.detect_s if frame % self.pipeline.finder.schedule.stretch == 0 else 0)
            self.now_s += busy_s
            self.governor.done(busy_s, self.state)
            frame += 1
        times = self.taken_at_s[begin:]
        settled = times[len(times) // 3 :]
        return (len(settled) - 1) / (settled[-1] - settled[0])


def test_frames_beyond_the_target_are_left_out():
    board = Board(detect_s=0.005)
    assert board.run(20) == pytest.approx(15, rel=0.02)
    assert board.governor.level == 0, "there is time for every detection"


def test_a_slow_board_holds_the_target_by_detecting_less_often():
    board = Board(detect_s=0.15)
    assert board.run(60) == pytest.approx(15, rel=0.05)
    assert board.pipeline.finder.schedule.stretch >= 3


def test_effort_comes_back_when_there_is_time_again():
    board = Board(detect_s=0.15)
    board.run(30)
    assert board.governor.level > 0
    board.detect_s = 0.004
    board.run(60)
    assert board.governor.level == 0 and board.pipeline.finder.pixel_step == 1


def test_effort_does_not_swing_to_and_fro():
    board = Board(detect_s=0.07)
    board.run(20)
    levels = []
    for _ in range(120):
        board.run(1)
        levels.append(board.governor.level)
    assert sum(first != second for first, second in itertools.pairwise(levels)) <= 12


def test_each_effort_is_cheaper_than_the_one_before():
    costs = [1 / effort.stretch - effort.pixel_step * 1e-3 for effort in EFFORTS]
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == len(costs)


def test_a_late_frame_is_not_made_up_for_by_a_burst():
    board = Board(detect_s=0.005)
    board.run(2)
    board.now_s += 3  # the camera was away
    begin = len(board.taken_at_s)
    board.run(1)
    gaps = [later - earlier for earlier, later in itertools.pairwise(board.taken_at_s[begin:])]
    assert min(gaps) > 0.9 / 15


def test_a_file_is_not_paced_but_its_effort_adapts():
    board = Board(detect_s=0.15, paced=False)
    board.run(30)
    assert board.governor.level > 0


def test_a_board_that_throttles_is_given_half_the_frames_and_both_are_said(caplog):
    board = Board(detect_s=0.005)
    board.run(5)
    board.state = HOT
    assert board.run(20) == pytest.approx(7.5, rel=0.05)
    assert [record.getMessage() for record in caplog.records] == [
        "the board throttles at 86 C: from 15.0 to 7.5 frames/s."
    ]
    board.state = COOL
    board.run(29)
    assert len(caplog.records) == 1, "it must stay cool for a while"
    board.run(5)
    assert caplog.records[-1].getMessage() == "the board throttles no more: the full rate again."
    assert board.run(10) == pytest.approx(15, rel=0.05)


def test_without_a_target_a_board_that_throttles_slows_down_all_the_same(caplog):
    board = Board(detect_s=0.038, target_fps=None)
    assert board.run(5) == pytest.approx(25, rel=0.05)
    board.state = HOT
    assert board.run(20) == pytest.approx(12.5, rel=0.1)


def test_the_monitor_looks_in_its_own_thread_and_is_joined():
    looks = []

    def look():
        looks.append(1)
        return HOT if len(looks) > 1 else COOL

    with BoardMonitor(look, period_s=0.01) as monitor:
        assert monitor.state in (COOL, HOT)
        eventually(lambda: monitor.state is HOT)
    count = len(looks)
    assert not monitor._thread.is_alive() and len(looks) == count


def test_a_look_that_fails_leaves_the_board_unknown_and_the_monitor_looking(caplog):
    looks, goes_on = [], threading.Event()

    def look():
        looks.append(1)
        if 1 < len(looks) < 5:
            raise OSError(24, "Too many open files")
        if len(looks) == 5:
            goes_on.wait()
        return HOT if len(looks) > 5 else COOL

    with BoardMonitor(look, period_s=0.01) as monitor:
        eventually(lambda: len(looks) == 5)
        assert monitor.state == BoardState(None, None, None, None), "an old temperature would look like a fresh one"
        goes_on.set()
        eventually(lambda: monitor.state is HOT)
    (record,) = caplog.records
    assert "Too many open files" in record.getMessage(), "told of once"


def test_a_first_look_that_fails_does_not_end_the_program():
    def look():
        raise OSError(24, "Too many open files")

    assert BoardMonitor(look).state == BoardState(None, None, None, None)


def test_a_new_governor_begins_with_full_effort_whatever_the_one_before_had_set():
    board = Board(detect_s=0.15)
    board.run(30)
    assert board.pipeline.finder.schedule.stretch > 1
    governor = RateGovernor(board.pipeline, None, paced=True)
    assert governor.level == 0
    assert (board.pipeline.finder.schedule.stretch, board.pipeline.finder.pixel_step) == (1, 1)


@pytest.mark.parametrize(("target_fps", "budget_s"), [(10.0, 0.05), (25.0, 0.02), (None, 0.5)])
def test_the_classifier_may_take_half_of_a_live_frames_time(target_fps, budget_s):
    board = Board(detect_s=0.005, target_fps=target_fps)
    board.run(1)
    assert board.pipeline.turns.budget_s == pytest.approx(budget_s)


def test_a_file_is_looked_at_whole_at_any_speed():
    board = Board(detect_s=0.005, paced=False)
    board.run(1)
    assert board.pipeline.turns.budget_s is None
