"""Outputs of the whole program: what a reload, a restart and a power cut leave of them."""

import json
import signal
import subprocess
import sys

import pytest

from tests.runtime.fakes.media import read_video
from tests.runtime.fakes.mjpeg_server import MjpegServer
from tests.runtime.test_program import indices, started, stop, wait_for_lines

pytestmark = pytest.mark.usefixtures("mediapipe_file")


def configured(folder, source, output="", privacy="none"):
    path = folder / "fer-edge.toml"
    path.write_text(
        f'[source]\naddress = "{source}"\n[output]\nquiet = true\nprivacy = "{privacy}"\n'
        f'jsonl = "{folder / "out.jsonl"}"\n{output}\n'
    )
    return path


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_a_reload_replaces_no_recording_and_no_line_of_this_run(clip, tmp_path, suffix):
    lines, video = tmp_path / "out.jsonl", f'video = "{tmp_path / "out"}.{suffix}"'
    other = tmp_path / "clip.mp4"
    other.symlink_to(clip)
    with started("--config", configured(tmp_path, clip, video)) as process:
        wait_for_lines(lines, 20, process)
        configured(tmp_path, clip, video, privacy="blur")
        process.send_signal(signal.SIGHUP)
        wait_for_lines(lines, 60, process)
        first = (tmp_path / f"out.{suffix}").read_bytes()
        configured(tmp_path, other, video + "\nkeep_files = 3\nrotate_mb = 900", privacy="blur")
        process.send_signal(signal.SIGHUP)
        wait_for_lines(lines, 100, process)
        stop(process)
    recordings = [tmp_path / f"out{number}.{suffix}" for number in ("", "-2")]
    assert sorted(tmp_path.glob(f"out*.{suffix}")) == sorted(recordings)
    assert recordings[0].read_bytes() == first
    assert indices(lines) == list(range(len(indices(lines)))), "no line is lost or replaced"
    # While the sources were exchanged the last picture stayed.
    assert len(indices(lines)) <= sum(len(read_video(path)) for path in recordings) <= len(indices(lines)) + 24


def test_a_service_that_is_killed_and_started_again_appends_and_numbers(tmp_path):
    """As systemd does after a crash and after a power cut."""
    lines, out = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    with MjpegServer() as server:
        config = configured(tmp_path, f"http://127.0.0.1:{server.port}/", f'video = "{out}"')
        counts = []
        for _ in range(2):
            with started("--config", config) as process:
                wait_for_lines(lines, sum(counts) + 20, process)
                process.kill()
                process.wait()
            counts.append(lines.read_bytes().count(b"\n") - sum(counts))
            with lines.open("ab") as stream:
                stream.write(b'{"frame_index": 99, "fa')  # what a power cut leaves of a line
        with started("--config", configured(tmp_path, f"http://127.0.0.1:{server.port}/", "")) as process:
            wait_for_lines(lines, sum(counts) + 1, process)
            stop(process)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(found) > sum(counts) and all(line["frame_index"] != 99 or "faces" in line for line in found)
    assert read_video(out) and read_video(tmp_path / "out-2.mp4")


def test_a_run_on_a_file_replaces_the_lines_of_the_one_before_and_not_its_recording(clip, tmp_path):
    lines, out = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    words = [
        "--source",
        clip,
        "--max-frames",
        20,
        "--as-fast-as-possible",
        "--quiet",
        "--jsonl",
        lines,
        "--save-video",
        out,
    ]
    told = [
        subprocess.run([sys.executable, "-m", "fer_edge", *map(str, words)], capture_output=True, check=True, text=True)
        for _ in range(2)
    ]
    count = len(indices(lines))
    assert len(read_video(out)) == len(read_video(tmp_path / "out-2.mp4")) == count
    assert f"{out} exists already; recording to {tmp_path / 'out-2.mp4'}" in told[1].stderr


@pytest.mark.parametrize("words", [["--fsync-s", "-1"], ["--fsync-s", "nan"], ["--fsync-s", "1e9"]])
def test_a_period_that_is_none_is_refused(clip, tmp_path, words):
    command = [sys.executable, "-m", "fer_edge", "--source", clip, "--jsonl", tmp_path / "out", *words]
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, text=True)
    assert done.returncode == 2 and "from 0 to 86400" in done.stderr and not (tmp_path / "out").exists()
