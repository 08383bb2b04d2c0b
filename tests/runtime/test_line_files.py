"""JSONL and CSV files on a real disk: names that change their meaning, power cuts, disks that go away and come back."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fer_edge.errors import UsageError
from fer_edge.sinks import CsvSink, JsonlSink, SinkSet
from fer_edge.sinks.line_file import LineOptions, Rotation

from tests.runtime.fakes.disks import ext4_disk, mounted_tmpfs, needs_loop, needs_mount
from tests.runtime.fakes.results import LABELS, face, taken

APPEND = LineOptions(append=True)
KINDS = ["out.jsonl", "out.csv"]


def sink_for(path, options=APPEND):
    return CsvSink(path, LABELS, options) if ".csv" in path.name else JsonlSink(path, options)


def frames_in(path):
    """Frame numbers of a file, each line of which is what it should be."""
    lines = path.read_text().splitlines()
    if ".csv" in path.name:
        assert lines[0].startswith("frame_index,")
        return [int(line.split(",")[0]) for line in lines[1:]]
    return [json.loads(line)["frame_index"] for line in lines]


def put(sink, *indices):
    for index in indices:
        sink.write(*taken(index, face()))


# --- An existing file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_appending_goes_on_with_the_file_and_else_it_is_replaced(tmp_path, name):
    path = tmp_path / name
    for first in (0, 10):
        with sink_for(path) as sink:
            put(sink, first)
    assert frames_in(path) == [0, 10]
    with sink_for(path, LineOptions()) as sink:
        put(sink, 20)
    assert frames_in(path) == [20]


@pytest.mark.parametrize("torn", [b'{"frame_index": 1, "ti', b"\0" * 5000, b"\xff", b'{"a": 1}garbage'])
def test_half_a_line_left_by_a_power_cut_is_removed_and_told_of(tmp_path, torn, caplog):
    path = tmp_path / "out.jsonl"
    with sink_for(path) as sink:
        put(sink, 0)
    with path.open("ab") as stream:
        stream.write(torn)
    with sink_for(path) as sink:
        put(sink, 2)
    assert frames_in(path) == [0, 2]
    assert f"an incomplete line of {len(torn)} bytes, which was removed" in caplog.text


def test_a_whole_line_that_only_lacks_its_newline_is_kept(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text('{"frame_index": 7}')
    with sink_for(path) as sink:
        put(sink, 8)
    assert frames_in(path) == [7, 8]


def test_a_power_cut_within_the_very_first_line_leaves_an_empty_file(tmp_path):
    for name, torn in (("out.jsonl", '{"frame_in'), ("out.csv", "frame_index,time_")):
        (tmp_path / name).write_text(torn)
        with sink_for(tmp_path / name) as sink:
            put(sink, 3)
        assert frames_in(tmp_path / name) == [3]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" * 9, b"frame,expression\n1,happy\n", b"no newline at all"])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_set_aside_instead_of_gone_on_with(tmp_path, name, content):
    path = tmp_path / name
    for _ in range(2):
        path.write_bytes(content)
        with sink_for(path) as sink:
            put(sink, 1)
        assert frames_in(path) == [1]
    assert (tmp_path / f"{name}.1").read_bytes() == content == (tmp_path / f"{name}.2").read_bytes()


def test_a_file_that_another_process_writes_is_refused_and_not_emptied(tmp_path):
    path = tmp_path / "out.jsonl"
    with sink_for(path) as sink:
        put(sink, 0)
        with pytest.raises(UsageError, match="another process is writing it"):
            sink_for(path, LineOptions()).__enter__()
        put(sink, 1)
    assert frames_in(path) == [0, 1]


def test_a_file_can_be_opened_again_as_soon_as_it_is_closed(tmp_path):
    path = tmp_path / "out.jsonl"
    for index in range(5):
        with sink_for(path) as sink:
            put(sink, index)
    assert frames_in(path) == list(range(5))


# --- Moved, removed, emptied ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_copied_and_emptied_begins_anew_without_a_hole(tmp_path, name, caplog):
    path = tmp_path / name
    with sink_for(path) as sink:
        put(sink, 0, 1)
        os.truncate(path, 0)
        put(sink, 2)
    assert frames_in(path) == [2] and b"\0" not in path.read_bytes() and not caplog.records


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_cut_off_within_a_line_goes_on_with_a_whole_one(tmp_path, name):
    path = tmp_path / name
    with sink_for(path) as sink:
        put(sink, 0, 1, 2)
        os.truncate(path, path.stat().st_size - 20)
        put(sink, 3)
    assert frames_in(path) == [0, 1, 3]


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_moved_keeps_its_lines_and_a_new_one_begins(tmp_path, name, caplog):
    path = tmp_path / name
    with sink_for(path) as sink:
        put(sink, 0)
        path.rename(tmp_path / f"{name}.old")
        put(sink, 1, 2)
    assert frames_in(tmp_path / f"{name}.old") == [0] and frames_in(path) == [1, 2]
    assert caplog.text.count("moved or removed") == 1


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_removed_begins_anew_with_the_next_result_even_without_a_face(tmp_path, name):
    path = tmp_path / name
    with sink_for(path) as sink:
        put(sink, 0)
        path.unlink()
        sink.write(*taken(1))
        assert path.exists()
        put(sink, 2)
    assert frames_in(path) == ([1, 2] if name == "out.jsonl" else [2])


def test_a_file_that_somebody_put_in_its_place_is_gone_on_with(tmp_path):
    path = tmp_path / "out.jsonl"
    with sink_for(path) as sink:
        put(sink, 0)
        path.rename(tmp_path / "older")
        path.write_text('{"frame_index": 40}\n')  # as logrotate's `create` does, if with nothing in it
        put(sink, 1)
    assert frames_in(path) == [40, 1]


def test_its_folder_is_made_again_where_it_was_removed(tmp_path):
    path = tmp_path / "results" / "out.jsonl"
    with sink_for(path) as sink:
        put(sink, 0)
        path.unlink()
        path.parent.rmdir()
        put(sink, 1)
    assert frames_in(path) == [1]


def test_a_relative_name_is_looked_up_in_the_working_folder_even_if_that_is_renamed(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with sink_for(Path("out.jsonl")) as sink:
        put(sink, 0)
        (tmp_path / "here").rename(tmp_path / "there")
        put(sink, 1)
    assert frames_in(tmp_path / "there" / "out.jsonl") == [0, 1]
    assert not (tmp_path / "here").exists()


# --- Symbolic links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("options", [APPEND, LineOptions(), LineOptions(rotation=Rotation(400, 2))])
def test_behind_a_link_the_target_is_written_and_rotated_and_the_link_stays(tmp_path, name, options):
    link, target = tmp_path / name, tmp_path / "disk" / name
    link.symlink_to(Path("disk") / name)  # it leads nowhere yet
    with sink_for(link, options) as sink:
        put(sink, *range(8))
    assert link.is_symlink() and str(link.readlink()) == f"disk/{name}"
    older = [target.with_name(f"{name}.{number}") for number in (2, 1)]
    kept = [index for path in (*older, target) if path.exists() for index in frames_in(path)]
    assert kept == list(range(8 - len(kept), 8)) and (len(kept) == 8 or options.rotation)
    assert older[0].exists() == (options.rotation is not None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", name]


def test_a_link_that_is_turned_elsewhere_is_followed(tmp_path):
    link = tmp_path / "out.jsonl"
    link.symlink_to(tmp_path / "first")
    with sink_for(link) as sink:
        put(sink, 0)
        (tmp_path / "new").symlink_to(tmp_path / "second")
        (tmp_path / "new").rename(link)
        put(sink, 1)
    assert (frames_in(tmp_path / "first"), frames_in(tmp_path / "second")) == ([0], [1])


def test_a_link_to_itself_is_a_usage_error(tmp_path):
    (tmp_path / "out.jsonl").symlink_to("out.jsonl")
    with pytest.raises(UsageError, match="symbolic links"):
        sink_for(tmp_path / "out.jsonl").__enter__()


# --- Disks ------------------------------------------------------------------------------------------------------


@needs_mount
@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_costs_what_came_meanwhile_and_nothing_else(tmp_path, name):
    now_s = [0.0]
    with (
        mounted_tmpfs(tmp_path / "disk", "64k") as disk,
        SinkSet([sink_for(disk / name)], clock_s=lambda: now_s[0]) as sinks,
    ):
        (disk / "filler").write_bytes(bytes(60_000))
        for index in range(200):
            now_s[0] += 100
            put(sinks, index)
        (disk / "filler").unlink()
        now_s[0] += 100
        put(sinks, 200)
        written = frames_in(disk / name)
        assert written[-1] == 200 and written[0] == 0 and 2 < len(written) < 100
        assert sinks.lost[next(iter(sinks.lost))] == 201 - len(written)


@needs_mount
def test_a_disk_that_is_unplugged_and_plugged_in_again_is_found_by_its_name(tmp_path, caplog):
    now_s, disk = [0.0], tmp_path / "usb"
    with mounted_tmpfs(disk) as first:
        sinks = SinkSet([sink_for(first / "day" / "out.jsonl")], clock_s=lambda: now_s[0]).__enter__()
        put(sinks, 0)
    put(sinks, 1)
    now_s[0] = 10
    put(sinks, 2)
    assert "is not mounted" in caplog.text and [*disk.iterdir()] == [], "nothing is written below the mount point"
    with mounted_tmpfs(disk) as second:
        now_s[0] = 100
        put(sinks, 3)
        assert frames_in(second / "day" / "out.jsonl") == [3]
        sinks.__exit__(None, None, None)
    assert "works again; 2 results were lost" in caplog.text and sum(sinks.lost.values()) == 2


@needs_loop
@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_becomes_read_only_costs_what_came_meanwhile(tmp_path, name):
    now_s = [0.0]
    with ext4_disk(tmp_path) as disk, SinkSet(clock_s=lambda: now_s[0]) as sinks:
        path = disk.plug_in() / name
        sinks.exchange({"sink": lambda: sink_for(path, LineOptions(append=True, fsync_s=0))})
        put(sinks, 0)
        disk.fail()
        put(sinks, 1)
        disk.unplug()
        disk.plug_in()
        now_s[0] = 100
        put(sinks, 2)
        assert frames_in(path) == [0, 2] and sum(sinks.lost.values()) == 1


@needs_loop
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rotation", [None, Rotation(900, 50)])
def test_with_a_period_of_zero_a_power_cut_costs_no_line(tmp_path, name, rotation):
    (tmp_path / "after").mkdir()
    with ext4_disk(tmp_path) as disk:
        path = disk.plug_in() / name
        with sink_for(path, LineOptions(append=True, fsync_s=0, rotation=rotation)) as sink:
            put(sink, *range(20))
            after = disk.as_after_a_power_cut(tmp_path / "after.img", tmp_path / "after")
    try:
        folder = after.plug_in()
        older = sorted(folder.glob(f"{name}.*"), key=lambda file: -int(file.suffix[1:]))
        assert [index for file in (*older, folder / name) for index in frames_in(file)] == list(range(20))
    finally:
        after.unplug()


@needs_loop
def test_after_the_period_a_power_cut_costs_no_line_even_if_none_came_since(tmp_path):
    with ext4_disk(tmp_path) as disk:
        path = disk.plug_in() / "out.jsonl"
        with sink_for(path, LineOptions(append=True, fsync_s=0.05)) as sink:
            put(sink, *range(20))
            for attempt in range(100):
                after = disk.as_after_a_power_cut(tmp_path / f"after{attempt}.img", tmp_path / "after")
                try:
                    written = after.plug_in() / "out.jsonl"
                    if written.exists() and written.stat().st_size and len(frames_in(written)) == 20:
                        return
                finally:
                    after.unplug()
    pytest.fail("the lines never reached the disk")


def test_the_name_of_a_new_file_is_synchronised_with_its_first_result(tmp_path, monkeypatch):
    """The name is in the folder. ext4 writes both at once, the FAT of many memory sticks does not."""
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with sink_for(tmp_path / "out.jsonl", LineOptions(append=True, fsync_s=0)) as sink:
        put(sink, 0)
        assert synced == [tmp_path / "out.jsonl", tmp_path]


# --- Pipes and devices ------------------------------------------------------------------------------------------


def test_a_pipe_gets_whole_lines_and_its_slow_reader_loses_none(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    got = []
    thread = threading.Thread(target=lambda: got.extend(iter(lambda: os.read(reader, 100), b"")))
    with sink_for(path, LineOptions(rotation=Rotation(1000, 2))) as sink:
        thread.start()
        put(sink, *range(500))
    thread.join()
    os.close(reader)
    lines = b"".join(got).decode().splitlines()
    assert [json.loads(line)["frame_index"] for line in lines] == list(range(500))
    assert [*tmp_path.iterdir()] == [path], "a pipe is not rotated"


def test_a_pipe_that_nobody_reads_is_a_usage_error_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="nobody reads from it; start its reader first"):
        sink_for(tmp_path / "pipe").__enter__()


def test_a_pipe_whose_reader_went_away_is_written_on_when_there_is_one_again(tmp_path):
    path, now_s = tmp_path / "pipe.csv", [0.0]
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with SinkSet([sink_for(path)], clock_s=lambda: now_s[0]) as sinks:
        put(sinks, 0)
        os.close(reader)
        for now_s[0] in (10, 20):
            put(sinks, 1)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        now_s[0] = 100
        put(sinks, 2)
        lines = os.read(reader, 10_000).decode().splitlines()
        os.close(reader)
        assert lines[0].startswith("frame_index,") and [line.split(",")[0] for line in lines[1:]] == ["2"]
        assert sum(sinks.lost.values()) == 2


def test_a_pipe_whose_reader_hangs_costs_results_instead_of_the_camera_and_no_line_is_torn(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_edge.sinks.line_file._PATIENCE_S", 0.01)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    got, now_s = b"", [0.0]
    with SinkSet([sink_for(path)], clock_s=lambda: now_s[0]) as sinks:
        for index in range(200):
            now_s[0] += 100
            sinks.write(*taken(index, *[face()] * 30))  # longer than what a pipe takes at once
        lost = sum(sinks.lost.values())
        assert 100 < lost < 200
        got = os.read(reader, 1 << 20)
        now_s[0] += 100
        put(sinks, 200)
        got += os.read(reader, 1 << 20)
    os.close(reader)
    indices = [json.loads(line)["frame_index"] for line in got.decode().splitlines()]
    assert indices[0] == 0 and indices[-1] == 200 and len(indices) >= 201 - lost


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_can_be_named_and_what_is_in_it_stays(tmp_path, name):
    script = (
        "from pathlib import Path; from fer_edge.sinks import JsonlSink; from fer_edge.sinks.line_file import *;"
        "from tests.runtime.fakes.results import taken;"
        f"sink = JsonlSink(Path({name!r}), LineOptions(rotation=Rotation(100, 1))).__enter__();"
        "[sink.write(*taken(index)) for index in range(9)]"
    )
    command = [sys.executable, "-c", script]
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    assert [json.loads(line)["frame_index"] for line in piped.splitlines()] == list(range(9))
    with (tmp_path / "log").open("ab") as log:
        log.write(b"before\n")
        log.flush()
        subprocess.run(command, stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "before\n" + piped
    assert [*tmp_path.iterdir()] == [tmp_path / "log"]


def test_dev_null_takes_everything():
    with sink_for(Path("/dev/null"), LineOptions(rotation=Rotation(100, 1))) as sink:
        put(sink, *range(20))
    assert Path("/dev/null").is_char_device()


# --- Rotation ---------------------------------------------------------------------------------------------------


def test_any_number_of_files_to_keep_costs_no_more_than_the_files_there_are(tmp_path):
    path = tmp_path / "out.jsonl"
    with sink_for(path, LineOptions(rotation=Rotation(700, 10**18))) as sink:
        put(sink, *range(20))
    files = [path, *(tmp_path / f"out.jsonl.{number}" for number in range(1, len([*tmp_path.iterdir()])))]
    assert [index for file in reversed(files) for index in frames_in(file)] == list(range(20))


def test_fewer_files_to_keep_than_last_time_leave_fewer(tmp_path):
    path = tmp_path / "out.jsonl"
    for keep in (9, 2):
        with sink_for(path, LineOptions(rotation=Rotation(700, keep))) as sink:
            put(sink, *range(40))
    assert len([*tmp_path.iterdir()]) == 3


def test_a_folder_with_the_name_of_an_older_file_is_left_alone(tmp_path):
    path = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.1").mkdir()
    with sink_for(path, LineOptions(rotation=Rotation(700, 3))) as sink:
        put(sink, *range(10))
    assert (tmp_path / "out.jsonl.1").is_dir() and frames_in(tmp_path / "out.jsonl.2")


def test_a_file_that_cannot_be_renamed_grows_on_instead_of_losing_results(tmp_path, caplog):
    path = tmp_path / ("x" * 254)  # with .1 its name is too long
    with sink_for(path, LineOptions(rotation=Rotation(700, 3))) as sink:
        put(sink, *range(20))
    assert frames_in(path) == list(range(20))
    assert caplog.text.count("cannot be rotated and grows beyond its limit: File name too long") == 1


# --- What did not reach the disk --------------------------------------------------------------------------------


def test_results_that_were_written_and_did_not_reach_the_disk_are_told_of_and_counted(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)  # no disk that fails so can be had without the device mapper
    with SinkSet([sink_for(tmp_path / "out.jsonl", LineOptions(append=True, fsync_s=3600))]) as sinks:
        put(sinks, 0, 1, 2)
    assert sum(sinks.lost.values()) == 3


def test_a_lock_does_not_outlive_the_file(tmp_path):
    path = tmp_path / "out.jsonl"
    with sink_for(path, LineOptions(append=True, fsync_s=3600)) as sink:
        put(sink, 0)
        path.rename(tmp_path / "moved")
        put(sink, 1)
        with (tmp_path / "moved").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
