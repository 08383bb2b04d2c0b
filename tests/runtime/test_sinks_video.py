"""Recordings: they play whatever ends them, keep to the clock, and replace nothing."""

import fcntl
import math
import os
import random
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import SourceError, UsageError
from fer_edge.sinks import SinkSet, VideoSink
from fer_edge.sinks import recording as recording_module
from fer_edge.sinks.recording import container_of
from fer_edge.sinks.video_file import Timeline, encodable_rate

from tests.runtime.fakes.disks import ext4_disk, mounted_tmpfs, needs_loop, needs_mount
from tests.runtime.fakes.media import index_of, numbered, read_video
from tests.runtime.fakes.results import face, taken
from tests.waiting import eventually

store = recording_module.Recording._store
LIMIT_BYTES = 400_000
SUFFIXES = ["mp4", "avi", "mkv"]
# A key frame each twelve frames, of which a fragment is made.
FRAGMENT_FRAMES = 12


def noisy(index, time_s=None):
    """A frame that needs some kilobytes."""
    frame, result = taken(index, face(), time_s=time_s)
    frame.image_bgr[:] = np.random.default_rng(index).integers(0, 256, frame.image_bgr.shape)
    return frame, result


def counted(index, time_s):
    """A frame that tells its number, 0 to 24, even after coding."""
    frame, result = taken(index, time_s=time_s, width=64, height=48)
    frame.image_bgr[:] = numbered(index % 25)
    return frame, result


def names_below(folder):
    return sorted(path.name for path in folder.iterdir())


def playing_times(path):
    """When each frame is shown, as a player reads it from the file; and the frames."""
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    times_s, images = [], []
    while (found := reader.read())[0]:
        times_s.append(reader.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        images.append(found[1])
    reader.release()
    return times_s, images


@contextmanager
def limited(limit_bytes=LIMIT_BYTES):
    """No file may grow beyond it: stands in for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def filled(sink):
    """Write until it raises; how many frames it took, and what it said."""
    with pytest.raises(OSError) as told:
        for index in range(2000):
            sink.write(*noisy(index))
    return index, str(told.value)


# --- Whatever ends it -------------------------------------------------------------------------------------------

RECORDS = """
import sys
from pathlib import Path
from fer_edge.sinks import VideoSink
from tests.runtime.test_sinks_video import noisy
sink = VideoSink(Path(sys.argv[1]), 10.0).__enter__()
for index in range(int(sys.argv[2])):
    sink.write(*noisy(index))
sys.stdin.read()
"""


@pytest.mark.parametrize("frames", [13, 90])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_program_leaves_a_file_under_its_name_that_plays_but_for_the_last_dozen_frames(
    tmp_path, suffix, frames
):
    out = tmp_path / f"out.{suffix}"
    with subprocess.Popen([sys.executable, "-c", RECORDS, out, str(frames)], stdin=subprocess.PIPE) as process:
        eventually(lambda: out.exists() and len(read_video(out)) >= frames - FRAGMENT_FRAMES, process=process)
        process.kill()
    assert frames - FRAGMENT_FRAMES <= len(read_video(out)) <= frames and names_below(tmp_path) == [out.name]
    with VideoSink(out, 10.0) as sink:
        sink.write(*noisy(0))
    assert names_below(tmp_path) == [f"out-2.{suffix}", out.name]
    assert len(read_video(out)) >= frames - FRAGMENT_FRAMES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recording_plays_while_it_grows(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    with VideoSink(out, 10.0) as sink:
        for index in range(60):
            sink.write(*noisy(index))
        eventually(lambda: 60 - FRAGMENT_FRAMES <= len(read_video(out)) <= 60)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_any_byte_it_plays_to_within_a_dozen_frames_of_the_cut(tmp_path, suffix):
    out, cut = tmp_path / f"out.{suffix}", tmp_path / f"cut.{suffix}"
    with VideoSink(out, 10.0) as sink:
        for index in range(150):
            sink.write(*noisy(index))
    content = out.read_bytes()
    for at in random.Random(7).sample(range(60_000, len(content)), 12):
        cut.write_bytes(content[:at])
        # Noise costs each frame about as many bytes as any other.
        assert len(read_video(cut)) >= 150 * at / len(content) - FRAGMENT_FRAMES - 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_finished_file_knows_its_length_and_can_be_jumped_about_in(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    with VideoSink(out, 10.0) as sink:
        for index in range(240):
            sink.write(*counted(index // 10, index / 10))
    reader = cv2.VideoCapture(str(out), cv2.CAP_FFMPEG)
    assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 240 and reader.get(cv2.CAP_PROP_FPS) == 10
    for index in (155, 5, 230):
        reader.set(cv2.CAP_PROP_POS_FRAMES, index)
        assert index_of(reader.read()[1]) == index // 10
    reader.release()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("block", [1, 7, 1000, 1 << 30])
def test_the_encoders_stream_is_taken_apart_alike_in_whatever_blocks_it_comes(suffix, block, monkeypatch, tmp_path):
    stream = []
    monkeypatch.setattr(
        recording_module.Recording, "_store", lambda self, data: stream.append(data) or store(self, data)
    )
    with VideoSink(tmp_path / f"out.{suffix}", 10.0) as sink:
        for index in range(60):
            sink.write(*counted(index, index / 10))
    container = container_of(f".{suffix}", 10.0)
    whole, pieces = b"".join(stream), []
    for at in range(0, len(whole), block):
        pieces += container.split(whole[at : at + block])
    assert sum(piece.frames for piece in pieces) == 60 and len(pieces) >= 5
    assert pieces[0].frames == 0


@needs_loop
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_after_a_power_cut_what_was_synchronised_plays(tmp_path, suffix):
    (tmp_path / "after").mkdir()
    with ext4_disk(tmp_path) as disk:
        out = disk.plug_in() / f"out.{suffix}"
        with VideoSink(out, 10.0, fsync_s=0) as sink:
            for index in range(100):
                sink.write(*noisy(index))
            eventually(lambda: len(read_video(out)) >= 100 - FRAGMENT_FRAMES)
            after = disk.as_after_a_power_cut(tmp_path / "after.img", tmp_path / "after")
    try:
        assert len(read_video(after.plug_in() / out.name)) >= 100 - 2 * FRAGMENT_FRAMES - 1
    finally:
        after.unplug()


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SourceError("camera 0: lost for good"), RuntimeError()])
def test_whatever_ends_the_run_the_file_is_finished_under_its_name(tmp_path, end):
    with pytest.raises(type(end)), VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0, face()))
        raise end
    assert names_below(tmp_path) == ["out.mp4"] and len(read_video(tmp_path / "out.mp4")) == 1


# --- Nothing is replaced ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.MKV", "caf\udce9.mp4", "a:b c%d.mp4"])
def test_a_recording_that_is_there_is_never_replaced(tmp_path, name, caplog):
    path = tmp_path / name
    for count in (1, 2, 3):
        with VideoSink(path, 10.0) as sink:
            for index in range(count):
                sink.write(*taken(index))
    files = [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in (2, 3))]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    for number, file in enumerate(files, 1):
        (tmp_path / "copy").write_bytes(file.read_bytes())
        assert len(read_video(tmp_path / "copy")) == number
    assert "exists already; recording to" in caplog.text


def test_an_empty_file_that_is_there_is_used(tmp_path):
    (tmp_path / "out.mp4").touch()
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0))
    assert names_below(tmp_path) == ["out.mp4"]


def test_two_processes_with_one_name_record_into_two_files(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as one, VideoSink(tmp_path / "out.mp4", 10.0) as other:
        for index in range(3):
            one.write(*taken(index))
        other.write(*taken(0))
    assert sorted(len(read_video(path)) for path in tmp_path.iterdir()) == [1, 3]


def test_it_is_locked_while_it_is_written(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0))
        with (tmp_path / "out.mp4").open() as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_behind_a_link_the_target_is_written_and_numbered_and_the_link_stays(tmp_path):
    link = tmp_path / "out.mp4"
    link.symlink_to("disk/film.mp4")
    for _ in range(2):
        with VideoSink(link, 10.0) as sink:
            sink.write(*taken(0))
    assert link.is_symlink() and names_below(tmp_path) == ["disk", "out.mp4"]
    assert names_below(tmp_path / "disk") == ["film-2.mp4", "film.mp4"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null"), os.mkdir])
def test_a_name_that_is_no_file_is_a_usage_error(tmp_path, make):
    make(tmp_path / "out.mp4")
    with pytest.raises(UsageError, match=r"cannot write .*: it is a "):
        VideoSink(tmp_path / "out.mp4", 10.0).__enter__()


def test_nothing_but_the_recording_is_left_anywhere(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    shared = Path("/dev/shm")
    before = sorted(shared.iterdir()) if shared.exists() else []
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0))
    assert (sorted(shared.iterdir()) if shared.exists() else []) == before
    assert names_below(tmp_path) == ["out.mp4", "tmp"] and names_below(tmp_path / "tmp") == []


def test_it_needs_no_memory_for_temporary_files_and_no_name_in_utf_8(tmp_path, monkeypatch):
    def without_dev_shm(prefix, dir=None):
        if dir is not None:
            raise PermissionError
        folder = tmp_path / "l\udce9a"
        folder.mkdir()
        return str(folder)

    monkeypatch.setattr("tempfile.mkdtemp", without_dev_shm)
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0))
    assert names_below(tmp_path) == ["out.mp4"] and len(read_video(tmp_path / "out.mp4")) == 1


# --- Moved, removed, emptied ------------------------------------------------------------------------------------


def test_a_file_that_was_moved_is_finished_where_it_is_and_another_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module, "_LOOK_S", 0.0)
    with SinkSet([VideoSink(tmp_path / "out.mp4", 10.0)]) as sinks:
        for index in range(30):
            sinks.write(*noisy(index))
        (tmp_path / "out.mp4").rename(tmp_path / "moved.mp4")
        for index in range(30, 35):
            sinks.write(*noisy(index))
    assert not sinks.failed
    assert len(read_video(tmp_path / "moved.mp4")) == 30 and len(read_video(tmp_path / "out.mp4")) == 5


def test_a_link_that_is_turned_elsewhere_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module, "_LOOK_S", 0.0)
    (tmp_path / "out.mp4").symlink_to("first.mp4")
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*noisy(0))
        (tmp_path / "new").symlink_to("second.mp4")
        (tmp_path / "new").rename(tmp_path / "out.mp4")
        sink.write(*noisy(1))
    assert len(read_video(tmp_path / "first.mp4")) == 1 == len(read_video(tmp_path / "second.mp4"))


@pytest.mark.parametrize(
    ("harm", "told"), [(Path.unlink, "removed it"), (lambda path: os.truncate(path, 0), "truncated it")]
)
def test_a_file_that_was_removed_or_emptied_is_told_of_and_what_was_in_it_counts_as_lost(tmp_path, harm, told, caplog):
    now_s, out = [0.0], tmp_path / "out.mp4"
    with SinkSet([VideoSink(out, 10.0)], clock_s=lambda: now_s[0]) as sinks:
        for index in range(30):
            sinks.write(*noisy(index))
        eventually(lambda: out.stat().st_size > 10_000)
        harm(out)
        for index in range(30, 90):
            now_s[0] += 100
            sinks.write(*noisy(index))
    assert told in caplog.text
    assert len(read_video(out)) == 90 - sum(sinks.lost.values()) > 20
    assert names_below(tmp_path) == ["out.mp4"]


# --- Disks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_can_grow_no_more_is_told_of_and_what_was_filmed_until_then_plays(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    with VideoSink(out, 10.0) as sink, limited():
        taken_count, told = filled(sink)
        assert f"what was filmed until then is kept as {out}" in told
        assert len(read_video(out)) == taken_count - sink.lost and sink.lost <= 2 * FRAGMENT_FRAMES
    assert names_below(tmp_path) == [out.name]


@needs_mount
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_a_finished_file_and_room_for_others(tmp_path, suffix):
    with mounted_tmpfs(tmp_path / "disk", "3m") as disk:
        with VideoSink(disk / f"out.{suffix}", 10.0) as sink:
            taken_count, told = filled(sink)
        assert "No space left" in told and os.statvfs(disk).f_bavail > 0
        reader = cv2.VideoCapture(str(disk / f"out.{suffix}"), cv2.CAP_FFMPEG)
        assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == taken_count - sink.lost > 100
        reader.release()


@needs_mount
def test_a_disk_that_is_unplugged_and_plugged_in_again_is_recorded_to_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recording_module, "_LOOK_S", 0.0)
    now_s, disk = [0.0], tmp_path / "usb"
    sinks = SinkSet([VideoSink(disk / "out.mp4", 10.0)], clock_s=lambda: now_s[0])
    with mounted_tmpfs(disk):
        sinks.__enter__()
        sinks.write(*noisy(0))
    for index in range(1, 10):
        now_s[0] += 100
        sinks.write(*noisy(index))
    assert "is not mounted" in caplog.text and names_below(disk) == []
    with mounted_tmpfs(disk):
        now_s[0] += 100
        sinks.write(*noisy(10))
        sinks.__exit__(None, None, None)
        assert len(read_video(disk / "out.mp4")) == 1
    assert sum(sinks.lost.values()) == 9


def test_after_a_full_disk_it_goes_on_in_another_file(tmp_path):
    (tmp_path / "out-2.mp4").write_bytes(b"somebody's")
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        with limited():
            first, _ = filled(sink)
        for index in range(5):
            sink.write(*noisy(index))
    assert len(read_video(tmp_path / "out.mp4")) == first - sink.lost
    assert len(read_video(tmp_path / "out-3.mp4")) == 5
    assert names_below(tmp_path) == ["out-2.mp4", "out-3.mp4", "out.mp4"]


def test_a_disk_that_stays_full_leaves_nothing_more_behind(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink, limited(100):
        taken_count = sum(filled(sink)[0] for _ in range(3))
        assert sink.lost == taken_count
    assert names_below(tmp_path) == []


def test_the_set_of_sinks_tells_of_it_once_counts_and_tries_again(tmp_path, caplog):
    now_s = [0.0]
    with SinkSet([VideoSink(tmp_path / "out.mp4", 10.0)], clock_s=lambda: now_s[0]) as sinks:
        with limited():
            for index in range(400):
                sinks.write(*noisy(index))
        assert sum("failed" in record.message for record in caplog.records) == 1
        now_s[0] = 1000.0
        sinks.write(*noisy(0))
        assert "works again" in caplog.text
    assert len(read_video(tmp_path / "out-2.mp4")) == 1
    assert sum(sinks.lost.values()) == 401 - sum(len(read_video(path)) for path in tmp_path.iterdir())


def test_an_avi_that_has_become_as_large_as_its_numbers_go_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_edge.sinks.muxers.Avi.max_bytes", 100_000)
    with SinkSet([VideoSink(tmp_path / "out.avi", 10.0)]) as sinks:
        for index in range(100):
            sinks.write(*noisy(index))
    files = [*tmp_path.iterdir()]
    assert len(files) > 2 and sum(len(read_video(path)) for path in files) == 100 and not sinks.failed


# --- Rates and times --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "fps", [71.4286, 66.667, 239.793, 119.881, 59.94, 23.976, 0.2, 1e-3, 0.0, -1.0, math.nan, math.inf, 90_000.0, 1e308]
)
def test_any_rate_becomes_one_that_the_encoder_can_hold(tmp_path, suffix, fps):
    out = tmp_path / f"out.{suffix}"
    with VideoSink(out, fps) as sink:
        for index in range(3):
            sink.write(*taken(index, time_s=index / encodable_rate(fps)))
    times_s, images = playing_times(out)
    assert len(images) == 3
    assert times_s[-1] - times_s[0] == pytest.approx(2 / encodable_rate(fps), rel=0.01, abs=0.002)


@given(st.floats(allow_nan=True))
def test_a_rate_is_kept_to_a_thousandth_or_is_a_common_one(fps):
    rate = encodable_rate(fps)
    if 0.1 <= fps <= 250:
        assert rate == pytest.approx(fps, rel=0.005, abs=0.0005)
    assert 0.1 <= rate <= 250
    assert any(abs(rate * scale - round(rate * scale)) < 1e-6 and rate * scale < 65_536 for scale in (1, 10, 100, 1000))


@pytest.mark.parametrize("width", [8192, 20_000])
def test_a_picture_larger_than_the_codec_can_hold_is_made_smaller(tmp_path, width):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0, width=width, height=60))
    (image,) = read_video(tmp_path / "out.mp4")
    assert 8000 < image.shape[1] < 8192


def places_of(path, times_s):
    """How far from its time each frame is shown that is in the video; a number comes again only after 25 frames."""
    playing_s, images = playing_times(path)
    levels = np.array([index_of(image) for image in images])
    off_s = np.array(playing_s)[:, None] - playing_s[0] - (np.array(times_s) - times_s[0])[None, :]
    off_s[levels[:, None] != np.arange(len(times_s)) % 25] = math.inf
    nearest_s = np.abs(off_s).min(axis=0)
    return nearest_s[nearest_s < 0.5]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_variable_rate_is_followed_over_the_whole_length(tmp_path, suffix):
    generator = np.random.default_rng(1)
    # A nominal 30 frames/s that come at 12 on average, now in bursts and now with gaps of a second and more.
    times_s = np.cumsum(generator.choice([0.01, 0.033, 0.05, 0.4, 1.3], 600, p=[0.2, 0.5, 0.2, 0.07, 0.03]))
    with VideoSink(tmp_path / f"out.{suffix}", 30.0) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(*counted(index, float(time_s)))
    playing_s, _ = playing_times(tmp_path / f"out.{suffix}")
    assert playing_s[-1] - playing_s[0] == pytest.approx(times_s[-1] - times_s[0], abs=2 / 30)
    off_s = places_of(tmp_path / f"out.{suffix}", times_s)
    assert len(off_s) > 500 and off_s.max() <= 2 / 30 + 0.002


@given(
    fps=st.sampled_from([1.0, 10.0, 29.97, 240.0]),
    steps=st.lists(st.floats(0.0, 8.0), min_size=1, max_size=200),
    live=st.booleans(),
)
def test_no_frame_is_ever_placed_two_frames_from_its_time(fps, steps, live):
    timeline = Timeline(None if live else fps)
    time_s, written = 0.0, 0
    for step_s in [0.0, *steps]:
        time_s += step_s
        copies = timeline.due(time_s)
        assert copies is not None
        if copies:
            timeline.wrote(copies, time_s)
            written += copies
        assert abs((written - 1) / timeline.fps - time_s) <= 2 / timeline.fps


@pytest.mark.parametrize("jitter_s", [0.0, 0.015])
def test_a_file_of_an_almost_even_rate_keeps_every_frame_once(tmp_path, jitter_s):
    times_s = np.arange(200) / 23.976 + np.random.default_rng(2).uniform(-jitter_s, jitter_s, 200)
    with VideoSink(tmp_path / "out.mp4", 23.976) as sink:
        for index, time_s in enumerate(np.sort(times_s)):
            sink.write(*counted(index, float(time_s)))
    levels = [index_of(image) for image in read_video(tmp_path / "out.mp4")]
    assert levels == [index % 25 for index in range(200)]


def test_a_live_video_plays_at_the_speed_of_life(tmp_path):
    with VideoSink(tmp_path / "out.mp4", None) as sink:
        for index in range(60):
            sink.write(*taken(index, time_s=index / 30))  # faster than it is written
        for index in range(60, 66):
            sink.write(*taken(index, time_s=2 + (index - 60) / 3))  # slower
    # 3.7 s at ten frames a second, the last frame being there once.
    assert len(read_video(tmp_path / "out.mp4")) == pytest.approx(37, abs=1)


def test_while_a_camera_stalls_the_last_picture_stays(tmp_path):
    with VideoSink(tmp_path / "out.mp4", None) as sink:
        for index, time_s in enumerate((0.0, 0.1, 5.0, 5.1)):
            sink.write(*counted(5 * index, time_s))
    levels = [index_of(image) for image in read_video(tmp_path / "out.mp4")]
    assert levels[0] == 0 and levels[-2:] == [10, 15] and set(levels[1:-2]) == {5} and len(levels) == 52


def test_a_camera_that_was_gone_for_long_begins_another_file(tmp_path):
    with VideoSink(tmp_path / "out.mp4", None) as sink:
        for time_s in (0.0, 0.1, 3600.0, 3600.1, 3600.2):
            sink.write(*taken(0, time_s=time_s))
    assert len(read_video(tmp_path / "out.mp4")) == 2 and len(read_video(tmp_path / "out-2.mp4")) == 3


def test_a_clock_that_is_set_back_or_tells_nothing_costs_no_frame(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        for time_s in (50.0, 50.1, 0.0, 0.1, math.nan, 0.3, -7.0):
            sink.write(*taken(0, time_s=time_s))
    assert len(read_video(tmp_path / "out.mp4")) == 7


def test_pictures_that_may_not_be_shown_leave_the_one_before(tmp_path):
    class Hides:
        def of(self, frame, result):
            return None if 3 <= result.frame_index < 8 else frame.image_bgr

    with VideoSink(tmp_path / "out.mp4", 10.0, Hides()) as sink:
        for index in range(10):
            sink.write(*counted(index, index / 10))
    assert [index_of(image) for image in read_video(tmp_path / "out.mp4")] == [0, 1, 2, 2, 2, 2, 2, 2, 8, 9]
