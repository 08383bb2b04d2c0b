"""How the privacy measurement changes a clip and judges it: faces move with their pictures, a visible part is seen.

A detector and a pipeline of the test stand in here; test_privacy.py has the real ones.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import UsageError
from fer_edge.frames import Box, Detection, Frame, FrameResult

from boards import privacy
from boards.privacy import CHANGES, FPS, PrivacyRow, Scene, measure, sample_clips, shown_of, swing, table, write_privacy

CENTRE = (160.0, 120.0)
WHITE = (255, 255, 255)


def scene(centre: tuple[float, float] = CENTRE, radius_px: float = 30.0) -> Scene:
    """A white disk on dark grey, with its outline as the face."""
    image = np.full((240, 320, 3), 40, np.uint8)
    cv2.circle(image, (round(centre[0]), round(centre[1])), round(radius_px), WHITE, -1)
    turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    outline = np.array(centre) + radius_px * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return Scene(image, (outline,))


def bright_part(changed: Scene) -> float:
    """How much of the face's outline is still white, where it is inside the picture."""
    mask = np.zeros(changed.image_bgr.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(changed.faces[0]).astype(np.int32)], 1)
    return float((changed.image_bgr[mask == 1].min(axis=1) > 200).mean()) if mask.any() else 0.0


@pytest.mark.parametrize("change", ["tilt", "mirrored each half second", "passing", "none"])
@pytest.mark.parametrize("index", [0, 13, 20, 44])
def test_a_face_stays_where_its_picture_goes(change: str, index: int) -> None:
    changed = CHANGES[change](scene((190.0, 100.0)), index)
    inside = changed.faces[0][:, 0].min() >= 0 and changed.faces[0][:, 0].max() <= 320
    assert bright_part(changed) > 0.9 or not inside


def test_a_passing_face_leaves_the_picture_on_both_sides_and_comes_back() -> None:
    lefts = [float(CHANGES["passing"](scene(), index).faces[0][:, 0].mean()) for index in range(120)]
    assert max(lefts) > 320 + 30 and min(lefts) < -30
    assert (lefts[0], lefts[60]) == pytest.approx((160, 160), abs=1)


def test_a_tilted_head_leans_to_both_sides_by_eighty_degrees() -> None:
    def angle(index: int) -> float:
        (right, below) = CHANGES["tilt"](scene(), index).faces[0][0] - CENTRE
        return float(np.degrees(np.arctan2(below, right)))

    angles = [angle(index) for index in range(120)]
    assert max(angles) == pytest.approx(80, abs=1) and min(angles) == pytest.approx(-80, abs=1)


def test_a_mirrored_picture_is_so_for_every_second_half_second() -> None:
    change = CHANGES["mirrored each half second"]
    middles = [float(change(scene((200.0, 120.0)), index).faces[0][:, 0].mean()) for index in (0, 11, 12, 23, 24)]
    assert middles == pytest.approx([200, 200, 119, 119, 200], abs=0.01)


def test_light_and_noise_change_the_picture_and_leave_the_face_where_it_was() -> None:
    plain = scene()
    darkest, noisiest = CHANGES["dimming"](plain, 60), CHANGES["noise"](plain, 60)
    assert darkest.image_bgr.max() == 12 and CHANGES["dimming"](plain, 0).image_bgr.max() == 255
    assert 50 < float(noisiest.image_bgr[:60].astype(float).std()) < 80
    assert np.array_equal(CHANGES["noise"](plain, 60).image_bgr, noisiest.image_bgr), "the same noise each time"
    assert darkest.faces is noisiest.faces is plain.faces


@pytest.mark.parametrize("index", [30, 90, 150, 210])
def test_sixty_per_cent_of_a_face_are_covered_from_each_side_in_turn(index: int) -> None:
    covered = CHANGES["partial covering"](scene(), index)
    assert bright_part(covered) == pytest.approx(0.37, abs=0.05)
    assert scene().image_bgr.max() == 255, "the picture before is left as it was"
    grey = np.argwhere((covered.image_bgr == (95, 105, 115)).all(axis=2)).mean(axis=0)[::-1] - CENTRE
    sides = {30: (0, 1), 90: (-1, 0), 150: (0, -1), 210: (1, 0)}
    assert float(np.dot(grey, sides[index])) > 8


def test_nobody_is_there_for_a_second_before_somebody_comes_in() -> None:
    before, later = (CHANGES["coming in"](scene(), index) for index in (round(FPS), round(FPS) + 40))
    assert bright_part(before) == 0 and before.faces[0][:, 0].min() > 320
    assert later.faces[0][:, 0].mean() == pytest.approx(160)


def test_a_swing_goes_to_its_greatest_and_back_twice() -> None:
    values = [swing(index) for index in range(240)]
    assert (values[0], values[60], values[120], values[180]) == pytest.approx((0, 1, 0, 1))
    assert min(values) >= 0 and max(values) <= 1


# --- what counts as exposed -----------------------------------------------------------------------------------------


@dataclass
class Judge:
    """A detector that finds a box wherever it is told to."""

    boxes: list[Box] = field(default_factory=list)
    name: str = "judge"

    def detect(self, image_bgr: np.ndarray, *, faint: bool = False) -> list[Detection]:
        return [Detection(box, 0.9) for box in self.boxes]


@dataclass
class Pipeline:
    """Hides the same boxes in each frame, where it knows anything of it."""

    hidden: tuple[Box, ...] | None
    detector: Judge = field(default_factory=lambda: Judge(name="runtime"))

    def process(self, frame: Frame) -> FrameResult:
        height, width = frame.image_bgr.shape[:2]
        place = (frame.index, frame.captured_at_s, frame.source, width, height)
        return FrameResult(*place, (), (), hidden=self.hidden)


FACE = Box(130.0, 90.0, 60.0, 60.0)
ELSEWHERE = Box(0.0, 0.0, 20.0, 20.0)


def measured(hidden: tuple[Box, ...] | None, *, judge: Judge | None = None, count: int = 4) -> PrivacyRow:
    scenes = [scene()] * (count - 1) + [replace(scene(), faces=())]
    return measure(scenes, Pipeline(hidden), judge or Judge(), ("clip", "none"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hidden", "exposed"),
    [((FACE,), 0), ((), 3), ((ELSEWHERE,), 3), (None, 0)],
    ids=["the face", "nothing", "a corner", "all of a frame nobody looked at"],
)
def test_a_frame_is_exposed_where_the_face_in_it_can_be_seen(hidden: tuple[Box, ...] | None, exposed: int) -> None:
    row = measured(hidden)
    assert (row.frames, row.with_face, row.exposed) == (4, 3, exposed)
    assert (row.detector, row.judge, row.clip, row.change) == ("runtime", "judge", "clip", "none")


@pytest.mark.parametrize(("left_out_px", "exposed"), [(2, False), (14, True)])
def test_the_edge_of_a_chin_may_be_seen_and_more_may_not(left_out_px: int, exposed: bool) -> None:
    visible = np.zeros((240, 320), np.bool_)
    visible[150 - left_out_px :] = True
    assert privacy._exposed(scene(), visible) == exposed


def test_of_a_face_at_the_edge_the_part_inside_counts() -> None:
    visible = np.ones((240, 320), np.bool_)
    assert not privacy._exposed(scene((-80.0, 120.0)), visible)
    assert privacy._exposed(scene((-20.0, 120.0)), visible)


def test_the_hidden_share_is_that_of_the_picture() -> None:
    nothing, all_of_it = measured(()), measured(None)
    assert (nothing.hidden_median, nothing.hidden_p95) == (0.0, 0.0)
    assert (all_of_it.hidden_median, all_of_it.hidden_p95) == (1.0, 1.0)
    assert 60 * 60 / (240 * 320) < measured((FACE,)).hidden_median < 0.3


@pytest.mark.parametrize(
    ("box", "hidden", "found"),
    [
        (FACE, (), 3),
        (FACE, (FACE,), 0),
        (ELSEWHERE, (), 0),
    ],
    ids=["the face in full sight", "blocks where the face was", "something that is no known face"],
)
def test_the_judge_finds_a_known_face_that_is_not_blocks_alone(box: Box, hidden: tuple[Box, ...], found: int) -> None:
    assert measured(hidden, judge=Judge([box])).found_by_judge == found


def test_a_picture_that_is_not_shown_shows_nothing() -> None:
    frame = Frame(scene().image_bgr, 0, 0.0, "clip")
    shown, visible = shown_of(privacy.Pictures("numbers"), frame, Pipeline(()).process(frame))
    assert shown.max() == 0 and visible.shape == (240, 320)


def test_outlines_are_ellipses_in_the_boxes_of_the_judge() -> None:
    (outline,) = privacy.outlines(Judge([Box(10.0, 20.0, 30.0, 60.0)]), scene().image_bgr)  # type: ignore[arg-type]
    assert outline.shape == (36, 2)
    assert outline.min(axis=0) == pytest.approx((10, 20)) and outline.max(axis=0) == pytest.approx((40, 80))


# --- clips and the page ---------------------------------------------------------------------------------------------


def test_without_the_sample_media_it_says_how_to_bring_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"WolfgangLanger_Pexels\.mp4 not found\. Bring it with `fer-edge-lab media`"):
        sample_clips(Judge(), tmp_path)  # type: ignore[arg-type]


def test_two_people_stand_beside_each_other_with_a_face_each() -> None:
    both = privacy._beside(scene((100.0, 100.0)), scene((50.0, 60.0)))
    assert both.image_bgr.shape == (240, 640, 3)
    assert [tuple(face.mean(axis=0).round(3)) for face in both.faces] == [(100, 100), (370, 60)]


def test_every_clip_is_measured_under_every_change_and_the_whole_of_it_as_it_is(monkeypatch) -> None:
    """The runtime's pipeline is stood in for by one that hides all."""
    monkeypatch.setattr(privacy, "Pipeline", lambda *_, **__: Pipeline(None))
    monkeypatch.setattr(privacy, "FRAMES", 2)
    clips = {"one": [scene()] * 3, "two": [scene()] * 3}
    rows = list(privacy.measure_all(Judge(), Judge(), None, clips))  # type: ignore[arg-type]
    assert [(row.clip, row.change) for row in rows] == [(clip, change) for clip in clips for change in CHANGES]
    assert {row.frames for row in rows if row.change == "none"} == {3}
    assert {row.frames for row in rows if row.change != "none"} == {2}


def test_the_table_has_a_line_for_each_clip_and_change_with_both_detectors(tmp_path: Path) -> None:
    row = PrivacyRow("mediapipe", "yunet", "clip", "tilt", 240, 240, 3, 1, 0.24, 0.51)
    other = replace(row, detector="yunet", judge="mediapipe", exposed=0, hidden_median=0.305)
    write_privacy(tmp_path / "privacy.csv", [row, other])
    assert table(tmp_path / "privacy.csv").splitlines() == [
        "| clip | change | mediapipe: exposed | hidden | yunet: exposed | hidden |",
        "|---|---|---|---|---|---|",
        "| clip | tilt | 3 of 240 | 24% (51%) | 0 of 240 | 30% (51%) |",
    ]
