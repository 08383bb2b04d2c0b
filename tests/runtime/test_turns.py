"""A slow model does not hold up a live loop: faces are classified in turn, and keep their names in between."""

from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.edges import Turns
from fer_edge.frames import Box, Detection, Frame
from fer_edge.pipeline import Pipeline

from tests.runtime.fakes.foreign import UNIT, Foreign, write_foreign


def run(turns: Turns, ids: list[int], frames: int, face_s: float) -> list[list[int]]:
    """The ids looked at in each of so many frames, by a model that takes `face_s` a face."""
    found = []
    for _ in range(frames):
        chosen = [ids[place] for place in turns.of(ids, set(ids))]
        turns.took(len(chosen), face_s * len(chosen))
        found.append(chosen)
    return found


def test_without_a_budget_all_faces_are_looked_at_in_every_frame() -> None:
    assert run(Turns(), [1, 2, 3], 5, 10.0) == [[1, 2, 3]] * 5


def test_a_model_that_is_fast_enough_looks_at_all_of_them() -> None:
    turns = Turns()
    turns.budget_s = 0.05
    assert run(turns, list(range(16)), 5, 0.003) == [list(range(16))] * 5


def test_a_slow_model_looks_at_each_in_turn() -> None:
    turns = Turns()
    turns.budget_s = 0.05
    _, *later = run(turns, [1, 2, 3, 4, 5], 11, 0.02)
    assert all(len(chosen) == 2 for chosen in later)
    assert {later.count([track_id]) for track_id in range(6)} == {0}
    assert [sum(track_id in chosen for chosen in later) for track_id in range(1, 6)] == [4] * 5


def test_a_model_slower_than_a_frame_looks_at_one_face_every_few_frames() -> None:
    turns = Turns()
    turns.budget_s = 0.05
    looks = [len(chosen) for chosen in run(turns, [7], 41, 0.2)]
    assert looks[0] == 1 and sum(looks[1:]) == 10, "200 ms of work in 4 frames of 50 ms"


@pytest.mark.parametrize("face_s", [0.001, 0.03, 0.2, 3.0])
def test_the_time_taken_stays_within_the_budget(face_s: float) -> None:
    turns = Turns()
    turns.budget_s = 0.05
    taken_s = sum(len(chosen) for chosen in run(turns, list(range(8)), 1000, face_s)[1:]) * face_s
    assert taken_s <= 1000 * 0.05 + face_s


def test_a_model_that_becomes_slower_looks_at_fewer_faces_and_at_more_again_when_it_is_well() -> None:
    """As a board that throttles does."""
    turns, ids = Turns(), list(range(8))
    turns.budget_s = 0.05
    well, hot, again = (run(turns, ids, 40, face_s)[-1] for face_s in (0.005, 0.02, 0.005))
    assert [len(chosen) for chosen in (well, hot, again)] == [8, 2, 8]


def test_a_new_face_is_looked_at_first_and_at_once() -> None:
    turns = Turns()
    turns.budget_s = 0.01
    run(turns, [1, 2], 3, 0.5)
    assert [turns.of([1, 2, 3], {1, 2, 3}), turns.of([1, 2, 3], {1, 2, 3})] == [[2], []]


def test_a_track_that_ended_is_forgotten() -> None:
    turns = Turns()
    run(turns, [1, 2], 3, 0.001)
    turns.of([2], {2})
    assert list(turns._looked_at) == [2]


class Pair:
    """A detector that always finds the same two faces."""

    name, side_px, min_score = "mediapipe", 48, 0.6

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        return [Detection(Box(20, 20, 60, 60), 0.9), Detection(Box(220, 20, 60, 60), 0.8)]


def test_faces_keep_their_names_and_numbers_while_it_is_not_their_turn(tmp_path: Path) -> None:
    classifier = Classifier(write_foreign(tmp_path / "m.onnx", Foreign(side_px=224, **UNIT)))
    pipeline, faces, run_once = Pipeline(Pair(), classifier, smoothing=1.0), [], classifier.engine.run
    classifier.engine.run = lambda tensor: (faces.append(len(tensor)), run_once(tensor))[1]
    image = np.random.default_rng(0).integers(0, 256, (120, 320, 3), dtype=np.uint8)
    first = pipeline.process(Frame(image, 0, 0.0, "camera"))
    pipeline.turns.budget_s = 1e-9
    later = [pipeline.process(Frame(255 - image, index, index / 10, "camera")) for index in range(1, 4)]
    assert faces == [2], "no time for any of them"
    assert all([face.to_dict() for face in one.faces] == [face.to_dict() for face in first.faces] for one in later)
    assert all(one.unnamed == () for one in later)
    pipeline.turns.budget_s = None
    again = pipeline.process(Frame(255 - image, 4, 0.4, "camera"))
    assert faces == [2, 2] and again.faces[0].probabilities != first.faces[0].probabilities
