"""Tracks: a face keeps its id while it moves, is missed or stands beside another, and loses it in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.frames import Box, Detection, Keypoints, Point
from fer_edge.tracker import IouTracker, intersection_over_union

boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0, 1200), st.floats(0, 1200))


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_fraction(first: Box, second: Box) -> None:
    overlap = intersection_over_union(first, second)
    assert 0 <= overlap <= 1 + 1e-9
    assert overlap == pytest.approx(intersection_over_union(second, first))


def at(x: float, y: float = 0) -> Detection:
    return Detection(Box(x, y, 100, 100), 0.9)


def test_a_moving_face_keeps_its_track() -> None:
    tracker = IouTracker()
    assert {tracker.update([at(10 * step)])[0] for step in range(20)} == {0}


def test_two_faces_keep_their_tracks_in_any_order() -> None:
    tracker = IouTracker()
    assert tracker.update([at(0), at(500)]) == [0, 1]
    assert tracker.update([at(505), at(5)]) == [1, 0]


def test_a_face_that_comes_back_soon_is_the_same_and_later_a_new_one() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    for _ in range(5):
        tracker.update([])
    assert tracker.update([at(0)]) == [0]
    for _ in range(40):
        tracker.update([])
    assert tracker.alive == frozenset()
    assert tracker.update([at(0)]) == [1]


def moved(step: int, faces: list[Detection], tracker: IouTracker, every: int) -> tuple[list[Detection], list[int]]:
    """One frame: detected each `every`-th time, else predicted."""
    return (faces, tracker.update(faces)) if step % every == 0 else tracker.predict()


def test_between_detections_a_face_goes_on_at_its_own_speed() -> None:
    tracker = IouTracker()
    for step in range(41):
        _, ids = moved(step, [at(6 * step, 3 * step)], tracker, every=4)
        assert ids == [0]
    # Found at 40; the three frames behind it are predicted.
    for step in range(41, 44):
        ((face,), _) = moved(step, [], tracker, every=4)
        assert (face.box.left_px, face.box.top_px) == pytest.approx((6 * step, 3 * step), abs=2)


def test_a_face_is_predicted_for_three_frames_and_keeps_its_track() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    counts = []
    for _ in range(6):
        is_stale = tracker.is_stale
        counts.append((is_stale, len(tracker.predict()[1])))
    assert counts == [(False, 1)] * 3 + [(True, 0)] * 3
    assert tracker.update([at(2)]) == [0]


def test_a_face_told_to_hold_still_is_named_for_as_long_as_nothing_moves() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    for _ in range(20):
        tracker.hold()
        assert tracker.predict()[1] == [0]


def test_a_fast_face_keeps_its_track_where_overlap_alone_would_lose_it() -> None:
    """From one detection to the next it moves by more than its own size."""
    tracker = IouTracker()
    ids = {tracker.update([at(0)])[0], tracker.update([at(25)])[0], tracker.update([at(50)])[0]}
    for step in range(3, 30):
        _, seen = moved(step, [at(25 * step)], tracker, every=6)
        ids |= set(seen)
    assert ids == {0}


def test_keypoints_move_with_a_predicted_box() -> None:
    tracker = IouTracker()
    for x in (100, 110):
        tracker.update([Detection(Box(x, 50, 100, 100), 0.9, Keypoints.of([Point(x + 30, 90)] * 5))])
    ((face,), _) = tracker.predict()
    assert face.keypoints is not None
    assert face.box.left_px > 110
    assert face.keypoints.nose.x_px - face.box.left_px == pytest.approx(30)
    assert face.keypoints.nose.y_px == 90


def test_a_face_that_was_missed_is_not_predicted_any_more() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    tracker.update([])
    assert tracker.predict() == ([], [])


def test_a_face_told_to_hold_still_does() -> None:
    tracker = IouTracker()
    for step in range(5):
        tracker.update([at(10 * step)])
    tracker.hold()
    ((face,), _) = tracker.predict()
    assert face.box == at(40).box


def test_the_overlap_of_two_boxes_is_their_common_part_of_both() -> None:
    assert intersection_over_union(Box(0, 0, 100, 50), Box(40, 20, 100, 50)) == pytest.approx(
        60 * 30 / (2 * 5000 - 1800)
    )
    assert intersection_over_union(Box(0, 0, 100, 50), Box(0, 0, 100, 50)) == 1
    assert intersection_over_union(Box(0, 0, 10, 10), Box(10, 0, 10, 10)) == 0, "they only touch"
    assert intersection_over_union(Box(0, 0, 10, 10), Box(20, 20, 10, 10)) == 0, "apart in both directions"
    assert intersection_over_union(Box(0, 0, 10, 10), Box(0, 50, 10, 10)) == 0, "one below the other"
    assert intersection_over_union(Box(0, 0, 0.5, 0.5), Box(0, 0, 0.5, 0.5)) == 1, "however small"
    assert intersection_over_union(Box(0, 0, 0, 0), Box(0, 0, 0, 0)) == 0


def test_a_face_follows_the_newest_half_of_its_speed() -> None:
    """Detectors' boxes tremble, so the newest step counts for half, in each direction alone."""
    tracker = IouTracker()
    for x, y in ((0, 0), (10, -20), (40, -20)):
        tracker.update([at(x, y)])
    ((face,), _) = tracker.predict()
    assert (face.box.left_px - 40, face.box.top_px + 20) == (0.5 * 30 + 0.25 * 10, 0.25 * -20)
    assert (face.box.width_px, face.box.height_px, face.score) == (100, 100, 0.9)


def test_a_face_that_grows_around_its_centre_has_no_speed() -> None:
    tracker = IouTracker()
    tracker.update([Detection(Box(100, 100, 80, 60), 0.9)])
    tracker.update([Detection(Box(90, 80, 100, 100), 0.9)])
    ((face,), _) = tracker.predict()
    assert face.box == Box(90, 80, 100, 100)


def test_speed_is_that_of_one_frame_however_long_ago_the_last_detection_was() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    for _ in range(3):
        tracker.predict()
    tracker.update([at(40, 20)])
    ((face,), _) = tracker.predict()
    assert (face.box.left_px, face.box.top_px) == (40 + 0.5 * 10, 20 + 0.5 * 5)


def test_the_better_overlap_gets_the_track() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    assert tracker.update([at(60), at(10)]) == [1, 0]
    assert tracker.alive == frozenset({0, 1})


def test_faces_side_by_side_do_not_take_each_others_tracks() -> None:
    """Each detection overlaps both tracks; a track is given once, and so is a detection."""
    tracker = IouTracker()
    assert tracker.update([at(0), at(50)]) == [0, 1]
    assert tracker.update([at(5), at(55)]) == [0, 1]
    assert tracker.update([at(5), at(8), at(58)]) == [2, 0, 1], "they move on by 2.5 pixels"


def test_one_face_that_went_away_leaves_the_other_its_track() -> None:
    tracker = IouTracker()
    tracker.update([at(0), at(50)])
    assert tracker.update([at(48)]) == [1]
    faces, ids = tracker.predict()
    assert (len(faces), ids) == (1, [1])


@pytest.mark.parametrize(("x", "same"), [(66, True), (67, False)])
def test_a_fifth_of_overlap_is_the_least_that_keeps_a_track(x: float, same: bool) -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    assert (tracker.update([at(x)]) == [0]) == same


def test_exactly_a_fifth_of_overlap_is_enough() -> None:
    tracker = IouTracker()
    tracker.update([Detection(Box(0, 0, 60, 10), 0.9)])
    assert tracker.update([Detection(Box(40, 0, 60, 10), 0.9)]) == [0], "200 of 1000 pixels"


def test_a_face_looked_for_where_it_was_expected_is_measured_and_the_others_move_on() -> None:
    tracker = IouTracker()
    for step in range(2):
        tracker.update([at(10 * step), at(500 + 10 * step)])
    expected = tracker.expected
    assert {number: box.left_px for number, box in expected.items()} == {0: 15, 1: 515}
    tracker.confirm({0: at(30)})
    boxes = tracker.expected
    assert (boxes[0].left_px, boxes[1].left_px) == (30 + 0.5 * 20 + 0.5 * 5, 520)
    faces, _ = tracker.predict()
    assert [face.box.left_px for face in faces] == [42.5, 520]


def test_a_face_that_is_found_again_is_held_no_more() -> None:
    tracker = IouTracker()
    tracker.update([at(0)])
    tracker.hold()
    tracker.update([at(0)])
    assert [len(tracker.predict()[0]) for _ in range(4)] == [1, 1, 1, 0]
    tracker.hold()
    tracker.confirm({0: at(0)})
    assert not tracker.is_stale
    assert [len(tracker.predict()[0]) for _ in range(4)] == [1, 1, 1, 0]


@pytest.mark.parametrize("between", [0, 1, 4, 9])
def test_a_track_is_forgotten_after_fifteen_frames_and_three_misses(between: int) -> None:
    """`between` frames without detection lie between two with one: three misses alone do not end a track."""
    tracker = IouTracker()
    tracker.update([at(0)])
    frames = misses = 0
    while tracker.alive:
        for _ in range(between):
            tracker.predict()
        tracker.update([])
        frames, misses = frames + between + 1, misses + 1
        assert frames < 100
    assert frames > 15 and misses >= 3
    assert frames - between - 1 <= 15 or misses == 3


def test_a_face_found_again_counts_its_misses_anew() -> None:
    tracker = IouTracker()
    for _ in range(4):
        tracker.update([at(0)])
        for _ in range(15):
            tracker.update([])
    assert tracker.update([at(0)]) == [0]


def test_forgotten_tracks_give_no_face_and_their_ids_are_not_used_again() -> None:
    tracker = IouTracker()
    tracker.update([at(0), at(500)])
    tracker.forget()
    assert tracker.predict() == ([], []) and tracker.alive == frozenset()
    assert tracker.update([at(0)]) == [2]
