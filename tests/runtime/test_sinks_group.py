"""Several sinks as one: each fails alone."""

import json

import pytest

from fer_edge.errors import UsageError
from fer_edge.sinks import CsvSink, JsonlSink, SinkSet

from tests.runtime.fakes.results import LABELS, face, taken


class FlakySink:
    """A sink that fails where it is told to, and notes what happens to it."""

    def __init__(self, name="flaky", fails=""):
        self.name, self.fails = name, fails
        self.calls = []

    def __enter__(self):
        self._note("enter")
        return self

    def __exit__(self, kind, error, trace):
        self._note("exit", error)

    def write(self, frame, result):
        self._note("write", result.frame_index)

    def _note(self, call, detail=None):
        self.calls.append((call, detail))
        if call in self.fails.split():
            raise UsageError("cannot open") if call == "enter" else OSError(f"{call} went\nwrong")


def names(sink):
    return [call for call, _ in sink.calls]


def test_all_sinks_get_every_frame():
    sinks = [FlakySink("a"), FlakySink("b")]
    with SinkSet(sinks) as group:
        for index in range(3):
            group.write(*taken(index))
    for sink in sinks:
        assert sink.calls == [("enter", None), ("write", 0), ("write", 1), ("write", 2), ("exit", None)]
    assert group.failed == ()


class Clock:
    """Stands still until told otherwise."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_a_failing_sink_is_told_of_once_and_left_alone_for_a_while(caplog):
    bad, good = FlakySink("bad", fails="write"), FlakySink("good")
    with SinkSet([bad, good], clock_s=Clock()) as group:
        for index in range(3):
            group.write(*taken(index))
        assert group.failed == ("bad",) and group.lost == {"bad": 3, "good": 0}
    assert names(bad) == ["enter", "write", "exit"]
    assert names(good) == ["enter", "write", "write", "write", "exit"]
    assert [record.getMessage() for record in caplog.records] == [
        "bad failed; it is tried again from time to time: write went wrong"
    ]


def test_a_sink_that_recovers_works_again_and_its_losses_are_told(caplog):
    sink, clock = FlakySink("disk", fails="write"), Clock()
    with SinkSet([sink], clock_s=clock) as group:
        group.write(*taken(0))
        sink.fails = ""
        for index in range(1, 5):
            clock.now_s = 0.4 * index
            group.write(*taken(index))
    assert [detail for call, detail in sink.calls if call == "write"] == [0, 3, 4]
    assert group.lost == {"disk": 3} and group.failed == ("disk",)
    assert caplog.records[-1].getMessage() == "disk works again; 3 results were lost."


def test_a_sink_that_fails_every_other_time_is_tried_ever_less_often_and_does_not_fill_the_log(caplog):
    sink, clock = FlakySink("disk"), Clock()
    with SinkSet([sink], clock_s=clock) as group:
        for second in range(3600):
            clock.now_s = float(second)
            sink.fails = "write" if len(sink.calls) % 2 else ""
            group.write(*taken(second))
        tried = names(sink).count("write")
        sink.fails = ""
        for second in range(3600, 4400):
            clock.now_s = float(second)
            group.write(*taken(second))
        caplog.clear()
        sink.fails = "write"
        group.write(*taken(4400))
    assert tried < 400
    assert caplog.records[0].getMessage().startswith("disk failed"), "after a while without a fault it is told again"


def test_a_sink_that_stays_broken_is_tried_ever_less_often():
    sink, clock = FlakySink("disk", fails="write"), Clock()
    with SinkSet([sink], clock_s=clock) as group:
        for second in range(200):
            clock.now_s = float(second)
            group.write(*taken(second))
    tried = [detail for call, detail in sink.calls if call == "write"]
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123, 183]


def test_sinks_are_exchanged_and_those_that_stay_are_not_touched():
    stays, goes, comes = FlakySink("stays"), FlakySink("goes"), FlakySink("comes")
    with SinkSet() as group:
        group.exchange({"a": lambda: stays, "b": lambda: goes})
        group.write(*taken(0))
        group.exchange({"a": lambda: pytest.fail("it is there"), "c": lambda: comes})
        group.write(*taken(1))
    assert stays.calls == [("enter", None), ("write", 0), ("write", 1), ("exit", None)]
    assert goes.calls == [("enter", None), ("write", 0), ("exit", None)]
    assert comes.calls == [("enter", None), ("write", 1), ("exit", None)]


def test_an_exchange_that_cannot_be_made_changes_nothing():
    def refuse():
        raise UsageError("no such codec")

    kept = FlakySink("kept")
    with SinkSet() as group:
        group.exchange({"a": lambda: kept})
        with pytest.raises(UsageError):
            group.exchange({"b": refuse})
        group.write(*taken(0))
    assert names(kept) == ["enter", "write", "exit"]


def test_a_sink_that_also_fails_to_close_is_told_of_once(caplog):
    with SinkSet([FlakySink("bad", fails="write exit")]) as group:
        group.write(*taken(0))
    assert group.failed == ("bad",) and len(caplog.records) == 1


def test_a_sink_that_fails_only_to_close_is_reported_and_the_others_are_closed(caplog):
    good = FlakySink("good")
    with SinkSet([FlakySink("bad", fails="exit"), good]) as group:
        pass
    assert group.failed == ("bad",) and names(good) == ["enter", "exit"]


def test_an_output_that_cannot_be_opened_stops_before_any_frame():
    first, last = FlakySink("first"), FlakySink("last")
    with pytest.raises(UsageError):
        SinkSet([first, FlakySink("bad", fails="enter"), last]).__enter__()
    assert names(first) == ["enter", "exit"] and names(last) == []


def test_sinks_learn_that_the_run_failed_and_its_error_goes_on():
    sink = FlakySink()
    with pytest.raises(RuntimeError), SinkSet([sink]):
        raise RuntimeError
    assert isinstance(sink.calls[-1][1], RuntimeError)


def test_a_real_sink_goes_on_beside_a_failing_one(tmp_path):
    # The CSV fails by labels of another model.
    with SinkSet([CsvSink(tmp_path / "out.csv", LABELS[:2]), JsonlSink(tmp_path / "out.jsonl")]) as group:
        for index in range(4):
            group.write(*taken(index, face()))
    assert group.failed == (f"csv {tmp_path / 'out.csv'}",)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame_index"] for line in lines] == [0, 1, 2, 3]


def test_no_sink_at_all_is_fine():
    with SinkSet([]) as group:
        group.write(*taken(0))
    assert group.failed == ()


def test_what_a_sink_took_and_could_not_deliver_counts_as_lost():
    sink = FlakySink("mqtt")
    sink.lost = 0
    with SinkSet([sink]) as group:
        group.write(*taken(0))
        sink.lost = 4
        assert group.lost == {"mqtt": 4}
        sink.lost = 5  # found while it closes
    assert group.lost == {"mqtt": 5} and group.failed == ("mqtt",)


def test_makers_are_checked_without_opening_or_changing_anything():
    stays, made = FlakySink("stays"), []

    def refuses():
        raise UsageError("no such output")

    def makes():
        made.append(FlakySink("new"))
        return made[-1]

    with SinkSet() as group:
        group.exchange({"stays": lambda: stays})
        with pytest.raises(UsageError, match="no such output"):
            group.check({"new": makes, "bad": refuses})
        group.check({"stays": refuses})
        group.write(*taken(0))
    assert names(stays) == ["enter", "write", "exit"] and names(made[0]) == []


def test_an_output_that_cannot_be_opened_at_a_reload_is_tried_again_and_its_losses_count(caplog):
    bad, clock = FlakySink("bad", fails="enter"), Clock()
    with SinkSet(clock_s=clock) as group:
        with pytest.raises(UsageError):
            group.exchange({"bad": lambda: bad})
        group.write(*taken(0))
        clock.now_s = 2.0
        group.write(*taken(1))
        bad.fails = ""
        clock.now_s = 10.0
        group.write(*taken(2))
    assert bad.calls == [("enter", None), ("enter", None), ("enter", None), ("write", 2), ("exit", None)]
    assert group.lost == {"bad": 2} and caplog.messages == ["bad works again; 2 results were lost."]


def test_what_was_lost_is_not_forgotten_when_a_sink_of_the_same_name_takes_over():
    sinks = {"old": FlakySink("out", fails="write"), "new": FlakySink("out")}
    with SinkSet(clock_s=Clock()) as group:
        for key, sink in sinks.items():
            group.exchange({key: lambda sink=sink: sink})
            group.write(*taken(0))
        assert group.lost == {"out": 1}
    assert group.failed == ("out",)
