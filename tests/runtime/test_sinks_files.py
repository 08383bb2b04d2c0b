"""Sinks that write files: JSON lines, CSV, annotated video."""

import csv
import json
import math
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.drawing import blur_faces, colour_of, draw
from fer_edge.errors import UsageError
from fer_edge.frames import Box, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.sinks import CsvSink, JsonlSink, VideoSink
from fer_edge.sinks.csv_file import COLUMNS
from fer_edge.sinks.line_file import LineOptions, Rotation
from fer_edge.sinks.video_file import letterboxed

from tests.runtime.fakes.media import read_video
from tests.runtime.fakes.results import LABELS, face, taken


def sink_for(path):
    return {".jsonl": JsonlSink, ".csv": lambda p: CsvSink(p, LABELS), ".mp4": lambda p: VideoSink(p, 10.0)}[
        path.suffix
    ](path)


def everything_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


NAMES = ["out.jsonl", "out.csv", "out.mp4"]

# --- All three ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_unwritable_output_is_a_usage_error_on_entering(tmp_path, name):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match="cannot write") as refused:
        sink_for(tmp_path / "file" / name).__enter__()
    assert refused.value.exit_code == 2 and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_the_way_is_a_usage_error(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        sink_for(tmp_path / name).__enter__()


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_missing_folders_are_made_and_an_old_file_is_replaced(tmp_path, name):
    path = tmp_path / "new" / "folder" / name
    for _ in range(2):
        with sink_for(path) as sink:
            sink.write(*taken(0, face()))
        size = path.stat().st_size
    with sink_for(path) as sink:
        sink.write(*taken(0, face()))
    assert path.stat().st_size == size
    assert everything_below(tmp_path) == [name]


# --- JSON lines ---------------------------------------------------------------------------------------------


def test_every_frame_is_one_json_object_with_the_documented_keys(tmp_path):
    with JsonlSink(tmp_path / "out.jsonl") as sink:
        sink.write(*taken(0))
        sink.write(*taken(1, face("happy", 0.79), face("sad", 0.4, track_id=-1)))
    empty, full = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (empty["frame_index"], empty["faces"]) == (0, [])
    assert list(full) == ["frame_index", "time_s", "source", "width_px", "height_px", "faces", "stage_ms"]
    assert (full["time_s"], full["source"], full["width_px"], full["height_px"]) == (0.1, "clip.mp4", 96, 72)
    assert full["stage_ms"] == {"detect": 4.25, "total": 6.5}
    assert full["faces"][0] == {
        "box_px": [20.25, 16.0, 24.0, 24.5],
        "score": 0.875,
        "track_id": 1,
        "expression": "happy",
        "confidence": 0.79,
        "probabilities": {label: 0.79 if label == "happy" else 0.035 for label in LABELS},
    }
    assert [found["expression"] for found in full["faces"]] == ["happy", "sad"]


def test_numpy_numbers_and_odd_file_names_can_be_written(tmp_path):
    frame, result = taken(0, face(box=Box(*np.float32([1, 2, 3, 4]))))
    odd = FrameResult(0, 0.0, "caf\udce9 \u2028 \n.mp4", 96, 72, LABELS, result.faces, {"total": np.float64(1.5)})
    with JsonlSink(tmp_path / "out.jsonl") as sink:
        sink.write(frame, odd)
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == odd.source


def test_a_growing_file_holds_whole_lines_at_any_moment(tmp_path):
    path = tmp_path / "out.jsonl"
    with JsonlSink(path) as sink:
        for index in range(20):
            sink.write(*taken(index, face()))
            lines = path.read_text()
            assert lines.endswith("\n") and json.loads(lines.splitlines()[-1])["frame_index"] == index


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_what_was_written_stays_when_the_run_fails(tmp_path, name):
    with pytest.raises(RuntimeError), sink_for(tmp_path / name) as sink:
        sink.write(*taken(0, face()))
        raise RuntimeError
    assert (tmp_path / name).read_text().endswith("\n")


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_full_disk_leaves_no_half_line(tmp_path, name):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with sink_for(tmp_path / name) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                for index in range(100):
                    sink.write(*taken(index, face()))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    text = (tmp_path / name).read_text()
    assert text.endswith("\n") and 500 < len(text) <= 1500
    if name.endswith("jsonl"):
        assert [json.loads(line)["frame_index"] for line in text.splitlines()] == list(range(text.count("\n")))


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_disk_that_has_room_again_is_written_on_without_a_gap_in_the_file(tmp_path, name):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with sink_for(tmp_path / name) as sink:
        sink.write(*taken(0, face()))
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / name).stat().st_size + 20, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                sink.write(*taken(1, face()))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sink.write(*taken(2, face()))
    assert "\0" not in (tmp_path / name).read_text()
    lines = (tmp_path / name).read_text().splitlines()
    if name.endswith("jsonl"):
        assert [json.loads(line)["frame_index"] for line in lines] == [0, 2]
    else:
        assert [line.split(",")[0] for line in lines] == ["frame_index", "0", "2"]


def test_a_frame_that_adds_nothing_does_not_pass_for_a_disk_with_room(tmp_path):
    path = tmp_path / "out.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with sink_for(path) as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
        try:
            for faces in ([face()], [], []):
                with pytest.raises(OSError, match="too large"):
                    sink.write(*taken(1, *faces))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        for index, faces in enumerate(([], [], [face()]), 2):
            sink.write(*taken(index, *faces))
    assert frames_in(path) == [1, 4], "what shows that there is room is the line that was refused"


# --- Rotation -----------------------------------------------------------------------------------------------


def rotated(path, **limits):
    rotation = Rotation(**limits)
    options = LineOptions(rotation=rotation)
    return CsvSink(path, LABELS, options) if path.suffix == ".csv" else JsonlSink(path, options)


def frames_in(path):
    lines = path.read_text().splitlines()
    if path.name.startswith("out.csv"):
        assert lines[0].startswith("frame_index,"), "each file has its header"
        return [int(line.split(",")[0]) for line in lines[1:]]
    return [json.loads(line)["frame_index"] for line in lines]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_a_file_that_would_grow_too_large_is_set_aside_whole(tmp_path, name):
    with rotated(tmp_path / name, max_bytes=1200, keep=100) as sink:
        for index in range(30):
            sink.write(*taken(index, face()))
    files = [tmp_path / name, *(tmp_path / f"{name}.{number}" for number in range(1, 100))]
    files = [path for path in files if path.exists()]
    assert len(files) >= 3 and all(path.stat().st_size <= 1200 for path in files)
    assert [index for path in reversed(files) for index in frames_in(path)] == list(range(30))


def test_only_so_many_old_files_are_kept(tmp_path):
    with rotated(tmp_path / "out.jsonl", max_bytes=800, keep=2) as sink:
        for index in range(40):
            sink.write(*taken(index, face()))
    assert everything_below(tmp_path) == ["out.jsonl", "out.jsonl.1", "out.jsonl.2"]
    kept = [index for end in (".2", ".1", "") for index in frames_in(tmp_path / f"out.jsonl{end}")]
    assert kept == list(range(kept[0], 40))


def test_no_old_file_at_all_may_be_kept(tmp_path):
    with rotated(tmp_path / "out.jsonl", max_bytes=800, keep=0) as sink:
        for index in range(40):
            sink.write(*taken(index, face()))
    assert everything_below(tmp_path) == ["out.jsonl"]


def test_a_line_longer_than_the_limit_is_written_all_the_same(tmp_path):
    with rotated(tmp_path / "out.jsonl", max_bytes=10, keep=5) as sink:
        for index in range(3):
            sink.write(*taken(index, face()))
    assert frames_in(tmp_path / "out.jsonl") == [2]
    assert frames_in(tmp_path / "out.jsonl.2") == [0]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
def test_with_rotation_the_next_run_goes_on_with_the_file(tmp_path, name):
    for first in (0, 10):
        with rotated(tmp_path / name, max_bytes=100_000) as sink:
            for index in range(first, first + 10):
                sink.write(*taken(index, face()))
    assert frames_in(tmp_path / name) == list(range(20))


@pytest.mark.parametrize("torn", [b'{"frame_index": 1, "ti', b"x" * 200_000, b"\xff\xfe"])
def test_a_half_line_left_by_a_power_cut_is_taken_back(tmp_path, torn):
    path = tmp_path / "out.jsonl"
    with rotated(path, max_bytes=10**6) as sink:
        sink.write(*taken(0, face()))
    path.write_bytes(path.read_bytes() + torn)
    with rotated(path, max_bytes=10**6) as sink:
        sink.write(*taken(1, face()))
    assert frames_in(path) == [0, 1]


@contextmanager
def no_more_files():
    """Nothing can be opened, and what is open can be written to."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_a_new_file_that_cannot_be_made_costs_no_old_one_however_often_it_is_tried(tmp_path, keep):
    path = tmp_path / "out.jsonl"
    with rotated(path, max_bytes=100, keep=keep) as sink:
        for index in range(6):
            sink.write(*taken(index))
        with no_more_files():
            for index in range(6, 12):
                with pytest.raises(OSError, match="Too many open files"):
                    sink.write(*taken(index))
        kept = sorted(index for file in tmp_path.iterdir() for index in frames_in(file))
        assert kept == list(range(5 - keep, 6))
        sink.write(*taken(12))
    assert frames_in(path) == [12]
    older = [frames_in(tmp_path / f"out.jsonl.{number}") for number in range(1, keep + 1)]
    assert older == [[5 - number] for number in range(keep)]
    assert len(everything_below(tmp_path)) == keep + 1


@pytest.mark.parametrize("keep", [0, 2])
def test_another_models_file_is_set_aside_instead_of_gone_on_with(tmp_path, keep):
    path, rotation = tmp_path / "out.csv", LineOptions(rotation=Rotation(10**6, keep))
    with CsvSink(path, LABELS[:3], rotation):
        older = path.read_text()
    for index in (0, 1):
        with CsvSink(path, LABELS, rotation) as sink:
            sink.write(*taken(index, face()))
    rows = list(csv.reader(path.read_text().splitlines()))
    assert [row[0] for row in rows] == ["frame_index", "0", "1"] and len({len(row) for row in rows}) == 1
    assert everything_below(tmp_path) == ["out.csv", "out.csv.1"][: keep + 1]
    if keep:
        assert (tmp_path / "out.csv.1").read_text() == older


@settings(max_examples=25, deadline=None)  # it writes files
@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(50, 3000))
def test_rotation_loses_and_repeats_nothing(tmp_path_factory, faces, max_bytes):
    folder = tmp_path_factory.mktemp("rotation")
    with rotated(folder / "out.jsonl", max_bytes=max_bytes, keep=1000) as sink:
        for index, count in enumerate(faces):
            sink.write(*taken(index, *[face()] * count))
    files = sorted(folder.iterdir(), key=lambda path: -int(path.suffix[1:]) if path.suffix != ".jsonl" else 0)
    assert [index for path in files for index in frames_in(path)] == list(range(len(faces)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
def test_a_device_that_refuses_every_write_raises_and_closes():
    with JsonlSink(Path("/dev/full")) as sink, pytest.raises(OSError, match="No space left"):
        sink.write(*taken(0))


# --- CSV ----------------------------------------------------------------------------------------------------


def test_every_face_is_one_row_below_stable_columns(tmp_path):
    path = tmp_path / "out.csv"
    with CsvSink(path, LABELS) as sink:
        sink.write(*taken(0))
        sink.write(*taken(1, face("happy", 0.79), face("sad", 0.4, track_id=-1)))
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [*COLUMNS, *(f"p_{label}" for label in LABELS)]
    assert [(row["frame_index"], row["face"], row["expression"], row["track_id"]) for row in rows] == [
        ("1", "0", "happy", "1"),
        ("1", "1", "sad", "-1"),
    ]
    assert [float(rows[0][key]) for key in ("left_px", "top_px", "width_px", "height_px")] == [20.25, 16, 24, 24.5]
    assert math.isclose(sum(float(rows[1][f"p_{label}"]) for label in LABELS), 1, abs_tol=1e-5)


def test_the_header_is_there_before_the_first_face(tmp_path):
    with CsvSink(tmp_path / "out.csv", LABELS):
        assert (tmp_path / "out.csv").read_text().startswith("frame_index,time_s,source,face,left_px,")


def test_another_models_labels_are_refused_instead_of_written_below_the_wrong_head(tmp_path):
    with CsvSink(tmp_path / "out.csv", LABELS[:3]) as sink, pytest.raises(ValueError, match="header"):
        sink.write(*taken(0, face()))


# --- Annotated video ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.mkv"])
def test_a_files_video_has_every_frame_once_at_its_rate(tmp_path, name):
    path = tmp_path / name
    with VideoSink(path, 10.0) as sink:
        for index in range(15):
            sink.write(*taken(index, face()))
    images = read_video(path)
    assert len(images) == 15 and images[0].shape == (72, 96, 3)
    assert everything_below(tmp_path) == [name]
    # The box is drawn: the grey of the frame is not the only colour any more.
    assert np.ptp(images[0], axis=2).max() > 50


def test_frames_of_another_size_are_fitted_into_the_first_one(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        for index, (width, height) in enumerate(((96, 72), (200, 72), (31, 97), (1, 1))):
            sink.write(*taken(index, width=width, height=height))
    images = read_video(tmp_path / "out.mp4")
    assert [image.shape for image in images] == [(72, 96, 3)] * 4
    assert images[1][2, 48].max() < 30 and images[1][36, 48].min() > 90, "bars above, picture in the middle"


def test_odd_sizes_can_be_encoded(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0, width=97, height=73))
    assert read_video(tmp_path / "out.mp4")[0].shape == (72, 96, 3)


def test_letterboxing_keeps_shape_and_middle():
    fitted = letterboxed(np.full((10, 40, 3), 200, np.uint8), 40, 40)
    assert fitted.shape == (40, 40, 3)
    assert fitted[15:25].min() == 200 and fitted[:14].max() == 0 and fitted[26:].max() == 0


def test_without_a_frame_there_is_no_video(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0):
        pass
    assert everything_below(tmp_path) == []


@pytest.mark.parametrize("name", ["out.gif", "out", "out.mp3"])
def test_a_suffix_that_is_no_video_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.mp4"):
        VideoSink(tmp_path / name, 10.0).__enter__()


# --- Drawing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1920, 1080), (48, 48), (1, 1), (1000, 20)])
@pytest.mark.parametrize("box", [Box(10, 10, 20, 20), Box(-30, -30, 50, 50), Box(600, 400, 90, 90), Box(0, 0, 0, 0)])
def test_drawing_leaves_the_frame_alone_whatever_its_size(width, height, box):
    frame, result = taken(0, face(box=box), width=width, height=height)
    before = frame.image_bgr.copy()
    drawn = draw(frame.image_bgr, result)
    np.testing.assert_array_equal(frame.image_bgr, before)
    assert drawn.shape == before.shape and drawn.dtype == np.uint8


def test_a_frame_without_faces_is_drawn_as_it_is():
    frame, result = taken(0)
    np.testing.assert_array_equal(draw(frame.image_bgr, result), frame.image_bgr)


def test_the_box_has_the_colour_of_its_expression():
    frame, result = taken(0, face("angry", box=Box(100, 200, 80, 80)), width=640, height=480)
    assert tuple(draw(frame.image_bgr, result)[270, 100]) == colour_of("angry")


def test_every_label_has_its_own_colour_and_synonyms_share_one():
    assert len({colour_of(label) for label in (*LABELS, "contempt")}) == 8
    for one, other in (("happy", "happiness"), ("angry", "anger"), ("sad", "sadness")):
        assert colour_of(one) == colour_of(other)
    assert colour_of("bored", ("bored", "tired")) != colour_of("tired", ("bored", "tired"))


@pytest.mark.parametrize("level", [0, 255])
def test_labels_stand_on_a_dark_plate_on_any_background(level):
    frame, result = taken(0, face(box=Box(200, 200, 100, 100)), width=640, height=480)
    frame.image_bgr[:] = level
    above = draw(frame.image_bgr, result)[180:198, 205:260]
    assert above.max() > 200 and np.median(above) < 60


@pytest.mark.parametrize(("width", "height"), [(640, 480), (48, 48), (1, 1), (1000, 20)])
@pytest.mark.parametrize("box", [Box(10, 10, 20, 20), Box(-30, -30, 50, 50), Box(600, 400, 90, 90), Box(0, 0, 0, 0)])
def test_blurring_leaves_the_frame_alone_whatever_its_size(width, height, box):
    frame, result = taken(0, face(box=box), width=width, height=height)
    before = frame.image_bgr.copy()
    assert blur_faces(frame.image_bgr, result).shape == before.shape
    np.testing.assert_array_equal(frame.image_bgr, before)


def test_a_blurred_face_is_81_blocks_and_the_rest_of_the_picture_stays():
    frame, result = taken(0, face(box=Box(200, 200, 100, 100)), width=640, height=480)
    frame.image_bgr[:] = np.random.default_rng(0).integers(0, 256, frame.image_bgr.shape)
    hidden = blur_faces(frame.image_bgr, result)
    inside = hidden[200:300, 200:300].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 81
    np.testing.assert_array_equal(hidden[:160], frame.image_bgr[:160])


def test_a_blurred_video_shows_no_face(tmp_path):
    frame, result = taken(0, face(box=Box(200, 200, 100, 100)), width=640, height=480)
    frame.image_bgr[::2] = 255  # stripes: any picture that keeps them would show them
    for name, blur in (("plain.avi", False), ("hidden.avi", True)):
        with VideoSink(tmp_path / name, 10.0, Pictures("blur" if blur else "none")) as sink:
            sink.write(frame, result)
    contrast = [np.std(read_video(tmp_path / name)[0][220:280, 220:280]) for name in ("plain.avi", "hidden.avi")]
    assert contrast[1] < contrast[0] / 4
