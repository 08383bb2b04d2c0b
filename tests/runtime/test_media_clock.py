"""Times of a file's frames: those of its container, unless its clock makes no sense."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.sources.video import MediaClock

_positions = st.one_of(
    st.floats(-1e6, 1e6), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 95443.7])
)


def times(positions, *, joined=False, period_s=0.04):
    clock = MediaClock(period_s, joined=joined)
    return [clock.advance(position) for position in positions], clock.jumps


def test_times_are_those_of_the_container_from_its_first_frame():
    assert times([5.0, 5.1, 5.15, 9.0])[0] == pytest.approx([0, 0.1, 0.15, 4.0])


def test_a_jump_between_joined_recordings_is_bridged_and_time_goes_on_by_the_second_clock():
    found, jumps = times([1.0, 1.1, 90001.0, 90001.1, 90001.3], joined=True)
    assert found == pytest.approx([0, 0.1, 0.14, 0.24, 0.44]) and jumps == 1


def test_a_clock_that_goes_back_is_bridged_likewise():
    found, jumps = times([90000.0, 90000.1, 3.0, 3.1, 3.3])
    assert found == pytest.approx([0, 0.1, 0.14, 0.24, 0.44]) and jumps == 1


def test_a_pause_is_a_pause_where_recordings_are_not_joined():
    assert times([0.0, 60.0, 600.0])[0] == pytest.approx([0, 60, 600])
    assert times([0.0, 60.0], joined=True)[0] == pytest.approx([0, 0.04])


def test_frames_told_out_of_order_do_not_drive_the_times_away():
    found, jumps = times([0.0, 0.12, 0.04, 0.08, 0.24, 0.28])
    assert found[-1] == pytest.approx(0.28) and jumps == 0


def test_the_last_frames_of_some_decoders_have_no_time():
    assert times([3.0, 3.1, 0.0, 0.0]) == (pytest.approx([0, 0.1, 0.14, 0.18]), 0)
    assert times([math.nan, math.nan, 7.0, 7.1])[0] == pytest.approx([0, 0.04, 7.0, 7.1])


@given(st.lists(_positions, min_size=1, max_size=40), st.booleans())
def test_times_grow_and_stay_within_what_a_pause_may_be(positions, joined):
    found, _ = times(positions, joined=joined)
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert found[0] == 0 and all(0 < step <= (10.001 if joined else 3600.001) for step in steps)
