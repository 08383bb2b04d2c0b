"""Which picture is shown under each privacy rule: with blur never a face that the detector has not looked for."""

import dataclasses

import numpy as np
import pytest

from fer_edge.drawing import blur_faces, draw
from fer_edge.frames import Box, Frame, FrameResult
from fer_edge.pictures import Pictures

from tests.runtime.fakes.results import face, taken

NOISE = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)


def shot(index: int, *, detected: bool = True, **changes: object) -> tuple[Frame, FrameResult]:
    """A frame of noise with a face and one that has no name, ten a second; each of its own noise."""
    frame, result = taken(index, face(box=Box(30, 20, 24, 24)))
    others = {"unnamed": (Box(60, 40, 20, 20),), "hidden": (Box(30, 20, 24, 24), Box(60, 40, 20, 20))}
    result = dataclasses.replace(result, detected=detected, **others)
    return dataclasses.replace(
        frame, image_bgr=np.roll(NOISE, index, axis=0), read_at_s=float(index), **changes
    ), result


def shows(picture: np.ndarray | None, frame: Frame, result: FrameResult) -> bool:
    """Is it the frame with its faces hidden and what was found drawn in?"""
    return picture is not None and np.array_equal(picture, draw(blur_faces(frame.image_bgr, result), result))


def shows_nothing_of(picture: np.ndarray | None, frame: Frame) -> bool:
    """Is all of it hidden, and nothing drawn in?"""
    assert picture is not None
    nobody = dataclasses.replace(taken(0)[1], faces=(), unnamed=(), hidden=None)
    return np.array_equal(picture, draw(blur_faces(frame.image_bgr, nobody), nobody))


def test_without_a_rule_a_picture_is_the_frame_with_what_was_found() -> None:
    frame, result = shot(0)
    np.testing.assert_array_equal(Pictures().of(frame, result), draw(frame.image_bgr, result))


def test_without_a_rule_each_frame_is_shown_looked_at_or_not() -> None:
    pictures = Pictures("none")
    pictures.of(*shot(0))
    frame, result = shot(1, detected=False)
    np.testing.assert_array_equal(pictures.of(frame, result), draw(frame.image_bgr, result))
    assert pictures.read_at_s == 1.0


def test_numbers_gives_no_picture_whatever_it_has_seen() -> None:
    pictures = Pictures("numbers")
    pictures.see(*shot(0))
    assert pictures.of(*shot(1)) is None
    assert pictures.read_at_s == float("-inf")


def test_blur_shows_the_newest_frame_the_detector_looked_at() -> None:
    pictures, looked_at = Pictures("blur"), shot(0)
    assert shows(pictures.of(*looked_at), *looked_at)
    for index in (1, 2, 3):
        assert shows(pictures.of(*shot(index, detected=False)), *looked_at)
        assert pictures.read_at_s == 0.0
    newer = shot(4)
    assert shows(pictures.of(*newer), *newer)


def test_a_frame_nobody_asked_for_is_the_one_shown_later() -> None:
    pictures, looked_at = Pictures("blur"), shot(0)
    pictures.see(*looked_at)
    assert shows(pictures.of(*shot(1, detected=False)), *looked_at)


def test_before_any_look_all_of_the_frame_is_hidden_and_nothing_is_drawn() -> None:
    frame, result = shot(0, detected=False)
    assert shows_nothing_of(Pictures("blur").of(frame, result), frame)


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"captured_at_s": 5.0}, True),
        ({"captured_at_s": 5.0 + 5.0}, True),
        ({"captured_at_s": 5.0 + 5.001}, False),
        ({"captured_at_s": 4.9}, False),
        ({"source": "another.mp4"}, False),
        ({"image_bgr": np.full((96, 72, 3), 90, np.uint8)}, False),
    ],
    ids=["same moment", "five seconds later", "longer", "earlier", "another source", "another shape"],
)
def test_an_older_picture_stands_in_for_five_seconds_of_the_same_source(changes: dict, is_kept: bool) -> None:
    pictures, looked_at = Pictures("blur"), shot(50)
    pictures.of(*looked_at)
    frame, result = shot(51, detected=False)
    frame = dataclasses.replace(frame, **changes)
    picture = pictures.of(frame, result)
    assert shows(picture, *looked_at) == is_kept
    assert is_kept or shows_nothing_of(picture, frame)


def test_a_picture_is_drawn_once_for_all_who_ask() -> None:
    pictures, looked_at = Pictures("blur"), shot(0)
    first = pictures.of(*looked_at)
    assert pictures.of(*looked_at) is first
    assert pictures.of(*shot(1, detected=False)) is first


def test_after_forgetting_nothing_of_the_source_before_is_shown() -> None:
    pictures = Pictures("blur")
    pictures.of(*shot(0))
    pictures.forget()
    assert pictures.read_at_s == float("-inf")
    frame, result = shot(1, detected=False)
    assert shows_nothing_of(pictures.of(frame, result), frame)
