"""The loop as a whole: its latency does not grow, however much faster the source is."""

import itertools

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
from fer_edge.sources.live import LiveOptions

from tests.runtime.fakes.on_demand import OnDemand


class Keeping:
    """A sink that keeps results."""

    name = "keeping"

    def __init__(self):
        self.results = []

    def write(self, frame, result):
        self.results.append(result)


@pytest.fixture
def pipeline(mediapipe_file, default_model):
    return Pipeline(open_detector("mediapipe", mediapipe_file), Classifier(default_model))


def loop_of(pipeline, sink):
    return loop_under(RateGovernor(pipeline, None, paced=False), pipeline, sink)


def loop_under(governor, pipeline, sink):
    board = BoardState(None, None, None, None)
    return Loop(pipeline, sink, governor, supervisor=Supervisor({}), board=lambda: board)


class Minute:
    """A clock of its own that drives a camera of 500 pictures a second: while time passes, pictures come."""

    def __init__(self, camera):
        self.now_s, self._camera = 0.0, camera

    def pass_s(self, seconds):
        self.now_s += seconds
        self._camera.deliver(round(self.now_s * 500) - self._camera.read_count)

    def age_s(self, index):
        """How long ago a picture was read; the first came at zero."""
        return self.now_s - index / 500


class Slow(Keeping):
    """A sink on that clock: pipeline and sink together take 50 ms a frame."""

    def __init__(self, clock):
        super().__init__()
        self._clock, self.ages_s = clock, []

    def write(self, frame, result):
        super().write(frame, result)
        self._clock.pass_s(0.05)
        self.ages_s.append(self._clock.age_s(result.frame_index))


@pytest.mark.parametrize(("target_fps", "period_s"), [(5.0, 0.2), (None, 0.05)])
def test_the_newest_picture_is_taken_however_many_came_meanwhile(pipeline, target_fps, period_s):
    """So a result is as old as its own processing, at the first frame and at the last."""
    camera = OnDemand(lambda number: np.full((48, 64, 3), 128, np.uint8))
    clock = Minute(camera)
    sink = Slow(clock)
    governor = RateGovernor(pipeline, target_fps, paced=True, clock_s=lambda: clock.now_s, sleep=clock.pass_s)
    camera.allow(1)
    with camera.source(LiveOptions()) as source:
        loop_under(governor, pipeline, sink).run(source, 40)
    assert max(sink.ages_s) < 0.05 + 1.5 / 500, "its own processing, and less than two pictures of the camera"
    indices = [result.frame_index for result in sink.results]
    assert set(np.diff(indices[1:])) == {round(period_s * 500)}, "those in between were dropped"


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
