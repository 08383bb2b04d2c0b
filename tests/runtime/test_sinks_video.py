"""Recordings left running: a full disk is told of, what was filmed is kept, and nothing stays hidden."""

import fcntl
import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from fer_edge.errors import SourceError
from fer_edge.sinks import SinkSet, VideoSink
from fer_edge.sinks import recording as recording_module

from tests.runtime.fakes.media import read_video
from tests.runtime.fakes.results import face, taken

LIMIT_BYTES = 2_000_000


def noisy(index):
    """A frame that needs some kilobytes."""
    frame, result = taken(index, face(), width=96, height=72)
    frame.image_bgr[:] = np.random.default_rng(index).integers(0, 256, frame.image_bgr.shape)
    return frame, result


def names_below(folder):
    return sorted(path.name for path in folder.iterdir())


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
    """Write until it raises; how many frames it took."""
    with pytest.raises(OSError) as told:
        for index in range(2000):
            sink.write(*noisy(index))
    return index, str(told.value)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_full_disk_is_told_of_and_what_was_filmed_until_then_plays(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    with VideoSink(out, 10.0) as sink, limited():
        taken_count, told = filled(sink)
        assert f"what was filmed until then is kept as {out}" in told
        assert len(read_video(out)) == taken_count > 10
    assert names_below(tmp_path) == [out.name]


def test_after_a_full_disk_it_goes_on_in_another_file(tmp_path):
    (tmp_path / "out-2.mp4").write_bytes(b"somebody's")
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        with limited():
            first, _ = filled(sink)
        for index in range(5):
            sink.write(*noisy(index))
    assert len(read_video(tmp_path / "out.mp4")) == first
    assert len(read_video(tmp_path / "out-3.mp4")) == 5
    assert names_below(tmp_path) == ["out-2.mp4", "out-3.mp4", "out.mp4"]


def test_a_disk_that_stays_full_leaves_nothing_more_behind(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink, limited(1000):
        for _ in range(3):
            assert filled(sink)[0] == 0
    assert names_below(tmp_path) == []


def test_the_set_of_sinks_tells_of_it_once_counts_and_tries_again(tmp_path, caplog):
    now_s = [0.0]
    with SinkSet([VideoSink(tmp_path / "out.mp4", 10.0)], clock_s=lambda: now_s[0]) as sinks:
        with limited():
            for index in range(2000):
                sinks.write(*noisy(index))
        assert sum("failed" in record.message for record in caplog.records) == 1
        now_s[0] = 1000.0
        sinks.write(*noisy(0))
        assert "works again" in caplog.text
    assert sinks.failed and len(read_video(tmp_path / "out-2.mp4")) == 1


def test_the_free_space_is_looked_at_before_it_is_used_up(tmp_path, monkeypatch):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*noisy(0))
        real = os.fstatvfs
        monkeypatch.setattr(recording_module, "_LOOK_S", 0.0)
        monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result([*real(fd)[:4], 1, *real(fd)[5:]]))
        with pytest.raises(OSError, match="No space left on device; what was filmed until then is kept"):
            sink.write(*noisy(1))
    assert len(read_video(tmp_path / "out.mp4")) == 1


def test_an_encoder_that_writes_no_more_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module, "_STUCK_FRAMES", 3)
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink, pytest.raises(OSError, match="did not grow"):
        for index in range(10):  # the few bytes of these stay in its buffer
            sink.write(*taken(index))


def test_a_file_that_does_not_play_is_kept_under_a_name_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module.Recording, "_require_room", lambda self: None)
    (tmp_path / "out.mp4").write_bytes(b"older")
    sink = VideoSink(tmp_path / "out.mp4", 10.0).__enter__()
    with limited():
        for index in range(1500):
            sink.write(*noisy(index))
        with pytest.raises(OSError, match=r"may not play; kept as .*out-unfinished\.mp4"):
            sink.__exit__(None, None, None)
    assert (tmp_path / "out-unfinished.mp4").stat().st_size == LIMIT_BYTES
    assert (tmp_path / "out.mp4").read_bytes() == b"older"


def test_a_file_cut_short_that_plays_is_kept_and_its_frames_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_module, "_frames_in", lambda path: 2)
    sink = VideoSink(tmp_path / "out.mp4", 10.0).__enter__()
    for index in range(5):
        sink.write(*noisy(index))
    with pytest.raises(OSError, match=r"only 2 of 5 frames arrived in the file; kept as .*out\.mp4"):
        sink.__exit__(None, None, None)
    assert len(read_video(tmp_path / "out.mp4")) == 5


@pytest.mark.parametrize(("end", "kept"), [(RuntimeError(), "out-unfinished.mp4"), (SourceError("lost"), "out.mp4")])
def test_what_was_filmed_until_the_run_failed_is_kept(tmp_path, end, kept):
    with pytest.raises(type(end)), VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        sink.write(*taken(0, face()))
        raise end
    assert names_below(tmp_path) == [kept] and len(read_video(tmp_path / kept)) == 1


def test_what_a_dead_process_left_is_given_a_name_that_is_seen(tmp_path, caplog):
    (tmp_path / f".out.{os.getpid()}.part.mp4").write_bytes(b"in a container every process has the same number")
    (tmp_path / ".out.999999999.part.mp4").write_bytes(b"frames")
    (tmp_path / ".out.999999998.part.mp4").touch()
    (tmp_path / ".out.more.999999999.part.mp4").write_bytes(b"of another output")
    with VideoSink(tmp_path / "out.mp4", 10.0):
        pass
    left = [".out.more.999999999.part.mp4", "out-unfinished-2.mp4", "out-unfinished.mp4"]
    assert names_below(tmp_path) == left
    assert "a recording that was cut short is kept as" in caplog.text


def test_what_another_process_is_writing_is_left_alone(tmp_path):
    with open(tmp_path / ".out.1.part.mp4", "wb") as other:
        other.write(b"frames")
        fcntl.flock(other, fcntl.LOCK_EX)
        with VideoSink(tmp_path / "out.mp4", 10.0):
            pass
        assert names_below(tmp_path) == [".out.1.part.mp4"]


def test_a_recording_is_locked_while_it_is_written(tmp_path):
    with VideoSink(tmp_path / "out.mp4", 10.0) as sink:
        for _ in range(2):
            with open(next(tmp_path.glob(".out.*.part.mp4")), "rb") as stream, pytest.raises(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sink.write(*taken(0))


def test_of_recordings_cut_short_nine_are_kept(tmp_path):
    for number in range(12):
        (tmp_path / f".out.{999999000 + number}.part.mp4").write_bytes(b"%d" % number)
        os.utime(tmp_path / f".out.{999999000 + number}.part.mp4", (number, number))
    with VideoSink(tmp_path / "out.mp4", 10.0):
        pass
    assert sorted(int(path.read_bytes()) for path in tmp_path.iterdir()) == list(range(3, 12))
