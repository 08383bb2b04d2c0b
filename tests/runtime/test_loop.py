"""The loop as a whole: its latency does not grow, however much faster the source is."""

import itertools
import statistics
import time

import numpy as np
import pytest

from fer_edge.board import BoardState
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline
from fer_edge.program.governor import RateGovernor
from fer_edge.program.loop import Loop
from fer_edge.program.service import Supervisor
from fer_edge.sources.latest import LiveOptions, LiveSource, Shot


class Keeping:
    """A sink that keeps results, and how old each frame was when it came."""

    name = "keeping"

    def __init__(self):
        self.results, self.ages_s = [], []

    def write(self, frame, result):
        self.results.append(result)
        self.ages_s.append(time.monotonic() - result.read_at_s)


@pytest.fixture
def pipeline(mediapipe_file, default_model):
    return Pipeline(open_detector("mediapipe", mediapipe_file), Classifier(default_model))


def loop_of(pipeline, sink, target_fps=None, paced=False):
    governor = RateGovernor(pipeline, target_fps, paced=paced)
    board = BoardState(None, None, None, None)
    return Loop(pipeline, sink, governor, supervisor=Supervisor({}), board=lambda: board)


class Camera:
    """A device faster than any pipeline here: 200 pictures a second."""

    def __init__(self, picture):
        self.picture = picture

    def read(self):
        time.sleep(0.005)
        return Shot(self.picture)

    def close(self):
        pass


@pytest.mark.parametrize("target_fps", [5.0, None])
def test_results_are_never_older_than_two_periods_and_do_not_grow_older(pipeline, astronaut, target_fps):
    sink = Keeping()
    with LiveSource("camera", lambda: Camera(astronaut), LiveOptions()) as source:
        loop_of(pipeline, sink, target_fps, paced=True).run(source, 40)
    if target_fps is not None:
        assert sorted(sink.ages_s[5:])[-1] <= 2 / target_fps
    assert statistics.median(sink.ages_s[-10:]) <= 2 * statistics.median(sink.ages_s[5:15])
    indices = [result.frame_index for result in sink.results]
    assert indices == sorted(set(indices)) and indices[-1] > 60, "those in between were dropped"


def test_a_photograph_in_a_folder_scores_as_it_does_alone(pipeline, astronaut):
    """The face before it, in the same place, must neither be taken for the same person nor smooth its expression."""
    faded = astronaut[:, ::-1] // 2 + 60
    alone = pipeline.process(Frame(faded, 0, 0.0, "b.png")).faces[0]
    sink = Keeping()
    pictures = [Frame(astronaut, 0, 0.0, "a.png"), Frame(faded, 1, 1.0, "b.png")]
    loop_of(pipeline, sink).run(pictures, continuous=False)
    assert sink.results[1].faces[0].probabilities == pytest.approx(alone.probabilities)
    assert sink.results[0].faces[0].track_id != sink.results[1].faces[0].track_id


def test_it_stops_at_the_wanted_number_of_frames(pipeline):
    sink = Keeping()
    grey = np.full((48, 64, 3), 128, np.uint8)
    frames = (Frame(grey, index, 0.0, "photo") for index in itertools.count())
    loop_of(pipeline, sink).run(frames, max_frames=3)
    assert len(sink.results) == 3
    assert next(frames).index == 3, "it took none too many"


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (480, 640, 3), (1, 1000, 3)])
def test_a_plain_frame_of_any_size_has_no_faces(pipeline, level, shape):
    sink = Keeping()
    loop_of(pipeline, sink).run([Frame(np.full(shape, level, np.uint8), 0, 0.0, "camera")])
    assert sink.results[0].faces == ()
