"""`--privacy blur` hides faces seen now or a moment ago, and all of a frame nothing is known of."""

import dataclasses
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.arguments import ON_MOTION, region
from fer_edge.classifier import Classifier
from fer_edge.drawing import blur_faces
from fer_edge.edges import EdgeWatch
from fer_edge.frames import Box, Detection, Frame
from fer_edge.hiding import HiddenAreas
from fer_edge.motion import CutDetector
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline
from fer_edge.tracker import intersection_over_union

from tests.runtime.fakes.results import face, taken

FPS = 20


def sure(x: float, y: float = 100, size: float = 80) -> Detection:
    return Detection(Box(x, y, size, size), 0.9)


def faint(x: float, y: float = 100, size: float = 80) -> Detection:
    return Detection(Box(x, y, size, size), 0.3)


def after(areas: HiddenAreas, looks: int, *found: Detection, start: int = 0) -> tuple[Box, ...]:
    """Return the areas hidden after so many looks in a row that found the same."""
    hidden: tuple[Box, ...] | None = ()
    for index in range(start, start + looks):
        hidden = areas.update(found, index / FPS)
    assert hidden is not None
    return hidden


def covers(hidden: tuple[Box, ...] | None, box: Box) -> bool:
    """Does one of the areas hold the whole box?"""
    return hidden is None or any(
        area.left_px <= box.left_px + 0.5
        and area.top_px <= box.top_px + 0.5
        and area.left_px + area.width_px >= box.left_px + box.width_px - 0.5
        and area.top_px + area.height_px >= box.top_px + box.height_px - 0.5
        for area in hidden
    )


# --- What is remembered ---------------------------------------------------------------------------------------


def test_a_face_that_is_found_is_hidden_where_it_is() -> None:
    assert after(HiddenAreas(), 10, sure(100)) == (Box(100, 100, 80, 80),)


def test_a_face_that_is_missed_stays_hidden_for_three_seconds_and_its_area_grows() -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100))
    sizes = [after(areas, 1, start=look)[0].width_px for look in range(10, 10 + 3 * FPS)]
    assert all(later >= earlier > 80 for earlier, later in itertools.pairwise(sizes))
    assert sizes[-1] <= 2.01 * 80, "it does not grow for ever"
    assert after(areas, 2, start=10 + 3 * FPS) == ()


def test_however_slow_the_board_a_face_is_remembered_for_five_looks() -> None:
    areas = HiddenAreas()
    areas.update([sure(100)], 0.0)
    assert [bool(areas.update([], 10.0 * look)) for look in range(1, 8)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize("speed", [-15, 4, 15])
def test_a_face_that_moves_is_looked_for_where_it_was_going(speed: int) -> None:
    """Missed for half a second, then found again, further on."""
    areas = HiddenAreas()
    for look in range(10):
        areas.update([sure(400 + speed * look)], look / FPS)
    for look in range(10, 20):
        assert covers(areas.update([], look / FPS), sure(400 + speed * look).box)


@pytest.mark.parametrize(("x", "y"), [(15, 0), (-15, 0), (0, 15), (0, -15), (6, -8)])
def test_a_missed_face_is_hidden_from_where_it_was_to_where_it_was_going(x: int, y: int) -> None:
    """At its speed, and an eightieth more on each side for the twentieth of a second that passed."""
    areas = HiddenAreas()
    for look in range(10):
        areas.update([sure(400 + x * look, 400 + y * look)], look / FPS)
    (area,) = areas.update([], 10 / FPS)
    left, top = 400 + 9 * x, 400 + 9 * y
    assert dataclasses.astuple(area) == pytest.approx(
        (left + min(x, 0) - 1, top + min(y, 0) - 1, 80 + abs(x) + 2, 80 + abs(y) + 2)
    )


def test_a_face_that_comes_nearer_is_going_nowhere() -> None:
    areas = HiddenAreas()
    for look in range(10):
        areas.update([sure(200 - look, 200 - look, 80 + 2 * look)], look / FPS)
    (area,) = areas.update([], 10 / FPS)
    assert area.left_px + area.width_px / 2 == pytest.approx(240)
    assert area.top_px + area.height_px / 2 == pytest.approx(240)


def test_boxes_that_tremble_have_little_speed() -> None:
    areas = HiddenAreas()
    for look in range(21):
        areas.update([sure(100 + 4 * (look % 2))], look / FPS)
    (area,) = areas.update([], 21 / FPS)
    assert area.width_px < 80 + 2 + 2, "at the speed of the last step it would be 4 pixels wider"


def test_a_new_face_beside_one_that_is_seen_has_no_speed_of_its_own() -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100))
    areas.update([sure(100), sure(220)], 10 / FPS)
    _, new = areas.update([], 11 / FPS)
    assert new == Box(219, 99, 82, 82)


@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
@pytest.mark.parametrize(("distance", "count"), [(39, 1), (40, 1), (41, 2)])
def test_a_face_belongs_to_the_area_its_centre_lies_in(x: int, y: int, distance: int, count: int) -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(200, 200))
    assert len(areas.update([sure(200 + x * distance, 200 + y * distance)], 10 / FPS)) == count


@pytest.mark.parametrize(("score", "is_sure"), [(0.5, True), (0.49, False)])
def test_an_area_moves_along_with_a_face_and_only_grows_for_what_may_be_one(score: float, is_sure: bool) -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100))
    moved = Box(110, 100, 80, 80)
    (area,) = areas.update([Detection(moved, score)], 10 / FPS)
    assert (area == moved) == is_sure
    assert covers((area,), moved)


def test_what_may_be_a_face_is_hidden_and_forgotten_sooner() -> None:
    areas = HiddenAreas()
    after(areas, 10)
    assert covers(after(areas, 1, faint(300), start=10), faint(300).box)
    assert after(areas, 4, start=11) != ()
    assert after(areas, 20, start=15) == ()


def test_what_is_suspected_again_and_again_is_remembered_like_a_face() -> None:
    areas = HiddenAreas()
    after(areas, 20, faint(300))
    assert after(areas, 2 * FPS, start=20) != ()


def test_the_box_of_a_part_does_not_uncover_the_rest_of_a_face() -> None:
    """A face that is half covered is found as what is left of it, and with little certainty."""
    areas = HiddenAreas()
    after(areas, 10, sure(100, size=200))
    for look in range(10, 30):
        part = (faint(100, size=110),) if look % 2 else (sure(180, size=40),)
        assert covers(areas.update(part, look / FPS), Box(110, 110, 170, 170))


def test_somebody_else_beside_a_face_that_is_missed_does_not_take_its_place() -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100), sure(300))
    after(areas, 10, sure(300), start=10)
    hidden = after(areas, 10, sure(300), sure(20), start=20)
    assert all(covers(hidden, one.box) for one in (sure(100), sure(300), sure(20)))


def test_a_jump_too_far_for_a_face_leaves_both_places_hidden() -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100))
    hidden = after(areas, 1, sure(500), start=10)
    assert covers(hidden, sure(100).box) and covers(hidden, sure(500).box)


def test_faces_everywhere_hide_everything() -> None:
    areas = HiddenAreas()
    crowd = [sure(100 * (number % 20), 100 * (number // 20), 40) for number in range(200)]
    after(areas, 10)
    assert areas.update(crowd, 0.5) is None


def test_forgotten_is_forgotten() -> None:
    areas = HiddenAreas()
    after(areas, 10, sure(100))
    areas.forget()
    assert after(areas, 10) == ()


times = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12)
detections = st.lists(
    st.builds(
        Detection,
        st.builds(Box, st.floats(-640, 1200), st.floats(-480, 900), st.floats(0.01, 1900), st.floats(0.01, 1400)),
        st.floats(0.1, 1),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(times=times, found=detections)
def test_whatever_the_clock_says_what_is_found_is_hidden(times: list[float], found: list[Detection]) -> None:
    areas = HiddenAreas()
    for time_s in times:
        hidden = areas.update(found, time_s, alone=True)
        assert hidden is not None
        assert all(np.isfinite(dataclasses.astuple(area)).all() for area in hidden)
        assert all(covers(hidden, one.box) for one in found)


# --- Scenes ---------------------------------------------------------------------------------------------------


def test_the_start_of_a_scene_is_hidden_for_a_quarter_of_a_second() -> None:
    areas = HiddenAreas()
    assert [areas.update([], look / FPS) is None for look in range(8)] == [True] * 5 + [False] * 3


def test_a_photograph_is_shown_at_once() -> None:
    assert HiddenAreas().update([sure(100)], 0.0, alone=True) == (sure(100).box,)


def test_a_cut_starts_a_scene_and_keeps_what_was_hidden() -> None:
    areas = HiddenAreas()
    after(areas, 40, sure(100))
    assert areas.update([], 2.0, cut=True) is None
    assert covers(areas.update([], 2.3), sure(100).box)


def test_a_picture_that_changes_all_the_time_is_not_hidden_for_ever() -> None:
    areas = HiddenAreas()
    shown = [areas.update([], look / FPS, cut=True) is not None for look in range(200)]
    assert sum(shown) > 100


@pytest.fixture
def scenes(astronaut: np.ndarray) -> list[np.ndarray]:
    """Three pictures that have nothing in common."""
    stripes = np.zeros_like(astronaut)
    stripes[:, ::64] = 255
    return [astronaut, cv2.blur(stripes, (40, 40)), np.ascontiguousarray(astronaut[::-1, ::-1])]


def test_another_scene_is_a_cut(scenes: list[np.ndarray]) -> None:
    for first, second in itertools.permutations(scenes, 2):
        cuts = CutDetector()
        assert [cuts.is_cut(image) for image in (first, first, second, second)] == [False, False, True, False]


def test_motion_noise_and_less_light_are_no_cut(astronaut: np.ndarray) -> None:
    cuts, noise = CutDetector(), np.random.default_rng(0)
    for step in range(20):
        image = np.roll(astronaut, 12 * step, axis=1) * (0.9**step) + noise.normal(0, 30, astronaut.shape)
        assert not cuts.is_cut(np.clip(image, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 500, 3), (480, 640, 3)])
def test_a_picture_of_one_grey_is_the_same_scene_as_another(shape: tuple[int, ...]) -> None:
    cuts = CutDetector()
    assert not any(cuts.is_cut(np.full(shape, grey, np.uint8)) for grey in (0, 128, 255))


# --- From the detector to the picture ---------------------------------------------------------------------------


class Scripted:
    """A detector that finds what it is told to; None raises, as an engine may."""

    name, side_px, min_score = "mediapipe", 48, 0.6

    def __init__(self, *found: list[Detection] | None) -> None:
        self._found = iter(found)

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        found = next(self._found)
        if found is None:
            raise RuntimeError("out of memory")
        return found


def noise(index: int, source: str = "camera") -> Frame:
    """A frame of one scene, in which a hidden pixel can be told from a shown one."""
    image = np.random.default_rng(0).integers(0, 200, (240, 320, 3), dtype=np.uint8) + np.uint8(index)
    return Frame(image, index, index / FPS, source)


def shown_part(pictures: Pictures, frame: Frame, pipeline: Pipeline) -> np.ndarray:
    """Where the picture shows the frame's own pixels, (h, w)."""
    picture = pictures.of(frame, pipeline.process(frame))
    assert picture is not None
    return (picture == frame.image_bgr).all(axis=2)


@pytest.fixture
def classifier(default_model: Path) -> Classifier:
    return Classifier(default_model)


PLACE = (slice(60, 140), slice(60, 140))


def test_a_face_the_detector_misses_is_not_shown(classifier: Classifier) -> None:
    """The first version showed it: 17 frames of the sample clip."""
    found = [[sure(60, 60)] if index < 10 or index > 30 else [] for index in range(40)]
    pipeline, pictures = Pipeline(Scripted(*found), classifier), Pictures("blur")
    for index in range(40):
        part = shown_part(pictures, noise(index), pipeline)
        assert not part[PLACE].any()
        assert index < 5 or part[200:, 250:].all(), "the rest is shown"


def test_a_frame_the_detector_failed_on_is_not_shown(classifier: Classifier) -> None:
    pipeline, pictures = Pipeline(Scripted(None, *[[]] * 9, None, []), classifier), Pictures("blur")
    shares = [shown_part(pictures, noise(index), pipeline).mean() for index in range(12)]
    assert [share > 0.99 for share in shares] == [False] * 6 + [True] * 4 + [False, True]


def test_frames_between_detections_show_the_last_one_looked_at(classifier: Classifier) -> None:
    pipeline, pictures = Pipeline(Scripted(*[[]] * 20), classifier, detect_when=5), Pictures("blur")
    frames = [noise(index) for index in range(20)]
    shown = [pictures.of(frame, pipeline.process(frame)) for frame in frames]
    assert all(np.array_equal(shown[index], frames[index - index % 5].image_bgr) for index in range(10, 20))


@pytest.mark.parametrize("options", [{"max_faces": 1}, {"min_face_px": 70}, {"regions": (region("0.6,0,1,1"),)}])
def test_faces_that_are_not_named_are_hidden_all_the_same(classifier: Classifier, options: dict) -> None:
    two = [sure(220, 60, 75), sure(60, 60, 60)]
    pipeline, pictures = Pipeline(Scripted(*[two] * 10), classifier, **options), Pictures("blur")
    for index in range(10):
        frame = noise(index)
        result = pipeline.process(frame)
        assert len(result.faces) == 1
        picture = pictures.of(frame, dataclasses.replace(result, faces=()))
        assert not (picture == frame.image_bgr).all(axis=2)[60:120, 60:120].any()


@pytest.mark.parametrize(
    "box", [Box(-60, 60, 100, 100), Box(290, 200, 100, 100), Box(60, -80, 100, 100), Box(-9, -9, 400, 400)]
)
def test_a_face_at_the_edge_of_the_picture_is_hidden(classifier: Classifier, box: Box) -> None:
    pipeline, pictures = Pipeline(Scripted(*[[Detection(box, 0.9)]] * 8), classifier), Pictures("blur")
    for index in range(8):
        part = shown_part(pictures, noise(index), pipeline)
    top, left = max(round(box.top_px), 0), max(round(box.left_px), 0)
    assert not part[top : round(box.top_px + box.height_px), left : round(box.left_px + box.width_px)].any()


def test_another_source_begins_anew(classifier: Classifier) -> None:
    pipeline, pictures = Pipeline(Scripted(*[[]] * 10, None), classifier), Pictures("blur")
    for index in range(10):
        shown_part(pictures, noise(index), pipeline)
    pipeline.forget()
    pictures.forget()
    assert shown_part(pictures, noise(10, "another"), pipeline).mean() < 0.01, "the detector failed on its first frame"


def test_of_an_unknown_frame_a_source_before_is_not_shown() -> None:
    pictures = Pictures("blur")
    frame, result = noise(0, "first"), taken(0)[1]
    assert np.array_equal(pictures.of(frame, result), frame.image_bgr)
    other = noise(1, "second")
    assert not np.array_equal(pictures.of(other, dataclasses.replace(result, detected=False)), frame.image_bgr)


def test_a_picture_of_monday_is_not_shown_on_friday() -> None:
    """On motion nobody looked from one day to the other, in more than one sense."""
    pictures, (monday, result) = Pictures("blur"), taken(0, width=320, height=240)
    monday.image_bgr[:] = 200
    pictures.of(monday, result)
    friday = Frame(np.zeros_like(monday.image_bgr), 1, 4 * 86400.0, "clip.mp4")
    unseen = dataclasses.replace(result, detected=False)
    assert pictures.of(friday, unseen).max() == 0


def test_a_frame_nobody_asked_for_is_shown_to_who_comes_while_the_detector_rests() -> None:
    pictures, (seen, result) = Pictures("blur"), taken(0, width=320, height=240)
    seen.image_bgr[:] = 200
    pictures.see(seen, result)
    still, unseen = taken(1, width=320, height=240)
    assert pictures.of(still, dataclasses.replace(unseen, detected=False)).min() == 200


def test_on_motion_the_detector_looks_again_every_three_seconds(classifier: Classifier) -> None:
    pipeline = Pipeline(Scripted(*[[]] * 20), classifier, detect_when=ON_MOTION)
    frame = noise(0)
    looked = [
        pipeline.process(dataclasses.replace(frame, index=second, captured_at_s=float(second))).detected
        for second in range(10)
    ]
    assert [second for second, detected in enumerate(looked) if detected] == [0, 3, 6, 9]


def test_numbers_keeps_no_picture() -> None:
    pictures = Pictures("numbers")
    assert pictures.of(*taken(0, face())) is None
    assert pictures._newest is None


# --- Blocks -----------------------------------------------------------------------------------------------------


def test_overlapping_areas_and_those_inside_others_hide_all_that_they_cover() -> None:
    frame = noise(0)
    result = dataclasses.replace(taken(0)[1], hidden=(Box(50, 50, 100, 100), Box(60, 60, 20, 20), Box(140, 90, 60, 60)))
    shown = (blur_faces(frame.image_bgr, result) == frame.image_bgr).all(axis=2)
    assert not shown[50:150, 50:150].any() and not shown[90:150, 140:200].any()
    assert shown[:, 260:].all()


def test_a_small_area_has_no_finer_blocks_than_a_face_needs() -> None:
    """The box that was found may be the eye of a large face."""
    frame = noise(0)
    result = dataclasses.replace(taken(0)[1], hidden=(Box(100, 100, 20, 20),))
    part = blur_faces(frame.image_bgr, result)[100:120, 100:120]
    assert len(np.unique(part.reshape(-1, 3), axis=0)) <= 5 * 5


def test_a_result_made_before_hidden_areas_were_known_hides_its_faces() -> None:
    frame, result = noise(0), taken(0, face(box=Box(60, 60, 80, 80)))[1]
    assert not (blur_faces(frame.image_bgr, result) == frame.image_bgr).all(axis=2)[PLACE].any()


# --- Faces that come in ---------------------------------------------------------------------------------------


def entering(astronaut: np.ndarray, outside: float, *, at_left: bool) -> np.ndarray:
    """A room with a part of the astronaut's face outside at one edge. It is 106 pixels wide, from 172 on."""
    room = np.full((512, 768, 3), (110, 100, 90), np.uint8)
    room[:, :512] = astronaut
    shift = -(172 + 106 * outside) if at_left else 768 - (172 + 106 * (1 - outside))
    moved = cv2.warpAffine(room, np.array([[1.0, 0.0, shift], [0.0, 1.0, 0.0]]), (768, 512), borderValue=(110, 100, 90))
    return np.asarray(moved, dtype=np.uint8)


@pytest.mark.parametrize("at_left", [True, False])
@pytest.mark.parametrize("outside", [0.3, 0.5, 0.6])
def test_half_a_face_at_an_edge_is_seen_in_its_mirror(detector, astronaut, at_left: bool, outside: float) -> None:
    image = entering(astronaut, outside, at_left=at_left)
    found = EdgeWatch(detector).look(image, 0.0)
    seen = (0, 106 * (1 - outside)) if at_left else (768 - 106 * (1 - outside), 768)
    near = [one for one in found if one.box.left_px < seen[1] and one.box.left_px + one.box.width_px > seen[0]]
    assert any(abs(one.box.top_px + one.box.height_px / 2 - 120) < 50 for one in near)
    assert max(one.score for one in found) < 0.5, "never sure enough to be named"


def test_edges_are_looked_at_where_something_moves_and_twice_a_second() -> None:
    looked: list[tuple[int, ...]] = []
    detector = Scripted()
    detector.detect = lambda image, faint: looked.append(image.shape) or []  # type: ignore[method-assign]
    watch, image = EdgeWatch(detector), np.full((240, 320, 3), 100, np.uint8)
    for index in range(20):
        watch.look(image, index / 20)
    assert len(looked) == 2
    image[100:140, 140:180] = 200
    watch.look(image, 0.96)
    assert len(looked) == 2, "in the middle"
    image[100:140, 280:] = 200
    for index in range(4):
        image[100:140, 280:] = 100 + 20 * index
        watch.look(image, 0.97 + 0.001 * index)
    assert looked == [(48, 48, 3)] * 4, "in every second picture"


@pytest.mark.parametrize("shape", [(1, 1, 3), (480, 7, 3), (7, 480, 3), (720, 1280, 3), (1280, 720, 3)])
def test_edges_of_a_picture_of_any_shape_are_looked_at(shape: tuple[int, ...]) -> None:
    detector = Scripted([Detection(Box(1, 1, 20, 20), 0.9), Detection(Box(28, 1, 20, 20), 0.9)])
    width = shape[1]
    for one in EdgeWatch(detector).look(np.zeros(shape, np.uint8), 0.0):
        assert one.box.left_px < width and one.box.left_px + one.box.width_px > 0


def test_what_is_seen_at_an_edge_is_hidden_and_not_named(classifier: Classifier) -> None:
    at_left = Detection(Box(30, 20, 15, 15), 0.9)  # in the right half of the strips, where the left edge is
    pipeline = Pipeline(Scripted([], [at_left]), classifier, watch_edges=True)
    result = pipeline.process(noise(0), alone=True)
    assert result.faces == () and result.unnamed == ()
    (area,) = result.hidden or ()
    assert area.left_px < 60 and 90 < area.top_px < 110


# --- Light ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("light", [0.5, 0.1, 0.05, 0.02])
def test_a_face_in_the_dark_is_found_as_well_as_in_the_light(detector, astronaut: np.ndarray, light: float) -> None:
    (bright,) = detector.detect(astronaut)
    (dark,) = detector.detect((astronaut * light).astype(np.uint8))
    assert dark.score > 0.6
    assert intersection_over_union(bright.box, dark.box) > 0.7


@pytest.mark.parametrize("grey", [0, 1, 3, 30])
def test_nothing_in_the_dark_is_no_face(detector, grey: int) -> None:
    noise = np.random.default_rng(grey).integers(0, 3, (480, 640, 3))
    assert detector.detect((grey + noise).astype(np.uint8)) == []


def test_a_faint_detection_is_a_face_turned_away_or_covered(detector, astronaut: np.ndarray) -> None:
    covered = astronaut.copy()
    covered[60:118, 170:290] = (95, 105, 115)  # forehead and eyes
    assert max((found.score for found in detector.detect(covered, faint=True)), default=0) < 0.93
    assert len(detector.detect(covered, faint=True)) >= len(detector.detect(covered))


# --- Faces that are cut out already -------------------------------------------------------------------------------


def test_without_a_detector_the_whole_picture_is_the_face(classifier: Classifier, astronaut: np.ndarray) -> None:
    from fer_edge.detectors import open_detector

    cut_out = np.ascontiguousarray(astronaut[70:190, 165:285])
    pipeline = Pipeline(open_detector("none"), classifier)
    result = pipeline.process(Frame(cut_out, 0, 0.0, "face.png"), alone=True)
    (found,) = result.faces
    assert (found.box_px, found.expression) == (Box(0, 0, 120, 120), "happy")
    grey = cv2.cvtColor(cut_out, cv2.COLOR_BGR2GRAY)
    expected = classifier.classify(cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)[None])
    np.testing.assert_allclose(found.probabilities, expected[0], rtol=1e-5)
    hidden = blur_faces(cut_out, result)
    assert len(np.unique(hidden.reshape(-1, 3), axis=0)) <= 81
