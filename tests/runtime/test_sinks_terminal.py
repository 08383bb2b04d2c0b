"""The terminal sink: a line a frame, and the summary by second."""

import io

import pytest

from fer_edge.sinks import TerminalSink
from fer_edge.sinks.terminal import Timeline

from tests.runtime.fakes.results import LABELS, face, taken


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Advances by `step_s` at every look."""

    def __init__(self, step_s):
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self):
        self.now_s += self.step_s
        return self.now_s


def printed(frames, stream=None, **options):
    stream = stream or io.StringIO()
    with TerminalSink(stream, clock_s=Clock(0.01), **options) as sink:
        for frame in frames:
            sink.write(*frame)
    return stream.getvalue()


def test_a_line_says_what_is_in_the_frame():
    line = printed([taken(12, face("happy", 0.79), face("sad", 0.4))]).splitlines()[0]
    assert line == "frame    12      1.20 s  2 faces: happy 79%, sad 40%  6.5 ms"


def test_a_frame_without_faces_says_so():
    assert "0 faces  6.5 ms" in printed([taken(0)]).splitlines()[0]


def test_a_file_in_a_pipe_gives_every_frame_a_line():
    text = printed([taken(index) for index in range(50)])
    assert sum(line.startswith("frame") for line in text.splitlines()) == 50


def test_a_live_source_prints_ten_lines_a_second_at_most():
    text = printed([taken(index) for index in range(200)], live=True)  # two seconds of the clock
    assert 15 <= sum(line.startswith("frame") for line in text.splitlines()) <= 21


def test_on_a_terminal_one_line_refreshes_itself(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = printed([taken(index, face(), face(), face()) for index in range(200)], Terminal())
    shown, summary = text.rsplit("\x1b[K", 1)
    assert "\n" not in shown and shown.count("\r") <= 22
    assert max(len(part.replace("\x1b[K", "")) for part in shown.split("\r")) <= 39, (
        "a wrapped line cannot be taken back"
    )
    assert summary.startswith("20.0 s")


def test_the_summary_counts_every_frame_second_by_second():
    frames = [taken(index, face("happy" if index < 15 else "sad")) for index in range(25)] + [taken(25)]
    head, title, *table = printed(frames, live=True).splitlines()[-7:]
    assert head == "2.6 s, 26 frames, faces found: 25 in 25 frames, 100.0 frames/s processed"
    assert title == "expressions, counted once a frame and face:"
    assert [line.split() for line in table] == [
        ["second", "faces", "happy", "sad"],
        ["0", "10", "10", "."],
        ["1", "10", "5", "5"],
        ["2", "5", ".", "5"],
        ["all", "25", "15", "10"],
    ]


def test_the_summary_of_nothing():
    assert printed([]) == "no frames\n"
    assert printed([taken(0)]).splitlines()[-1] == "0.0 s, 1 frame, faces found: 0 in 0 frames"


def test_the_summary_is_printed_when_the_run_is_interrupted():
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), TerminalSink(stream) as sink:
        sink.write(*taken(0, face()))
        raise KeyboardInterrupt
    assert "faces found: 1" in stream.getvalue()


def test_a_run_of_months_keeps_a_bounded_timeline_and_loses_no_count():
    timeline = Timeline(max_spans=8)
    for second in range(1000):
        timeline.add(second, [("happy",)])
    lines = timeline.table(LABELS)
    assert len(lines) <= 8 + 2
    assert lines[-1].split() == ["all", "1000", "1000"]
    assert lines[1].split()[0] == f"0-{timeline.span_s - 1}"
    assert sum(int(line.split()[1]) for line in lines[1:-1]) == 1000


def test_a_jump_of_the_clock_does_not_fill_the_timeline():
    timeline = Timeline(max_spans=8)
    for time_s in (0.0, 1.0, 1e6):
        timeline.add(time_s, [("sad",)])
    assert len(timeline.table(LABELS)) == 5
