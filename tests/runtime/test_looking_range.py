"""--range: how far the detector looks."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from fer_edge.arguments import looking_range
from fer_edge.detectors import open_detector
from fer_edge.finder import FaceFinder
from fer_edge.frames import Box, Frame
from fer_edge.looking_range import SIDES_PX, AutoRange, FixedRange, range_of
from fer_edge.program.parts import make_pipeline
from fer_edge.schedule import DetectionSchedule
from fer_edge.settings import DetectionSettings, OutputSettings, Settings
from fer_edge.tracker import IouTracker


def face(side_px: float) -> Box:
    return Box(10, 10, side_px * 0.8, side_px)


def sides(looks: AutoRange, count: int) -> list[int]:
    return [looks.next_side_px() for _ in range(count)]


def after_the_first(looks: AutoRange) -> int:
    """The side of the next look that is not the far one of each five."""
    return sorted(sides(looks, 5))[0]


@pytest.mark.parametrize(("face_px", "side_px"), [(200, 192), (60, 192), (52, 224), (46, 256), (30, 320), (12, 320)])
def test_auto_looks_as_far_as_the_smallest_face_asks_for(face_px: float, side_px: int) -> None:
    looks = AutoRange()
    looks.note([face(300), face(face_px)], 640, 0.0)
    assert after_the_first(looks) == side_px


def test_auto_looks_far_where_nobody_is_and_each_fifth_time_where_somebody_is() -> None:
    looks = AutoRange()
    assert sides(looks, 7) == [320] * 7
    looks.forget()
    looks.note([face(200)], 640, 0.0)
    assert sides(looks, 10) == [320, 192, 192, 192, 192] * 2


def test_the_smallest_face_counts_for_two_minutes() -> None:
    looks = AutoRange()
    looks.note([face(20)], 640, 0.0)
    for second in range(1, 119):
        looks.note([face(200)], 640, float(second))
    assert after_the_first(looks) == 320
    for second in range(119, 140):
        looks.note([face(200)], 640, float(second))
    assert after_the_first(looks) == 192


def test_a_clock_that_goes_back_begins_anew() -> None:
    looks = AutoRange()
    looks.note([face(20)], 640, 500.0)
    looks.note([face(200)], 640, 1.0)
    assert after_the_first(looks) == 192


def test_what_is_remembered_does_not_grow() -> None:
    looks = AutoRange()
    for second in range(10_000):
        looks.note([face(200)], 640, float(second))
    assert len(looks._smallest) <= 14


def test_a_board_too_slow_for_its_rate_looks_near() -> None:
    looks = AutoRange()
    looks.note([face(20)], 640, 0.0)
    looks.is_pressed = True
    assert after_the_first(looks) == 192


@pytest.mark.parametrize(("choice", "side_px"), [("near", 192), ("far", 320), (416, 416)])
def test_a_fixed_range_stays(choice: str | int, side_px: int) -> None:
    looks = range_of(choice)
    looks.note([face(5)], 640, 0.0)
    assert [looks.next_side_px() for _ in range(6)] == [side_px] * 6
    assert looking_range(str(choice)) == choice


@pytest.mark.parametrize("text", ["wide", "", "100", "32", "2048", "-320", "320.0"])
def test_another_range_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="near, far, auto and no multiple of 32 from 64 to 1024"):
        looking_range(text)


@pytest.mark.parametrize(
    ("choice", "privacy", "side_px"),
    [("auto", "none", 192), ("auto", "blur", 320), ("near", "blur", 192), ("far", "none", 320), (256, "none", 256)],
)
def test_what_is_hidden_is_looked_for_far_away(
    made_yunet_file: Path, choice: str | int, privacy: str, side_px: int
) -> None:
    settings = Settings(detection=DetectionSettings(range=choice), output=OutputSettings(privacy=privacy))
    looks = make_pipeline(settings).finder.looks
    assert looks is not None
    looks.note([face(300)], 640, 0.0)
    assert min(looks.next_side_px() for _ in range(5)) == side_px


def test_the_canvas_is_that_of_the_range(made_yunet_file: Path, astronaut: np.ndarray) -> None:
    detector = open_detector("yunet", made_yunet_file)
    for looks, side_px in ((FixedRange(128), 128), (AutoRange(), SIDES_PX["far"])):
        finder = FaceFinder(detector, DetectionSchedule(1), looks)
        assert finder.look(Frame(astronaut, 0, 0.0, "photo"), IouTracker()).sure
        assert detector.side_px == side_px


def test_a_detector_with_one_canvas_has_no_range(mediapipe_file: Path, astronaut: np.ndarray) -> None:
    detector = open_detector("mediapipe", mediapipe_file)
    finder = FaceFinder(detector, DetectionSchedule(1), FixedRange(64))
    assert finder.look(Frame(astronaut, 0, 0.0, "photo"), IouTracker()).sure
    assert (finder.looks, detector.side_px) == (None, 192)
