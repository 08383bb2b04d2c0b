"""Sources that are files: every frame exactly once, and clear words about files that are none."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.errors import SourceError
from fer_edge.picture_header import PictureLimit
from fer_edge.sources import open_source

from tests.runtime.fakes.clock import Clock
from tests.runtime.fakes.media import BLUE, GREEN, RED, index_of, numbered, plain, write_image, write_video


def read(path):
    with open_source(str(path)) as source:
        return list(source)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_a_video_gives_every_frame_once_in_order(tmp_path, name):
    frames = read(write_video(tmp_path / name, [numbered(i) for i in range(12)]))
    assert [frame.index for frame in frames] == list(range(12))
    assert [index_of(frame.image_bgr) for frame in frames] == list(range(12))
    assert {frame.source for frame in frames} == {str(tmp_path / name)}
    assert {(frame.image_bgr.shape, frame.image_bgr.dtype.name) for frame in frames} == {((48, 64, 3), "uint8")}


def test_a_video_is_timed_by_its_own_clock(tmp_path):
    frames = read(write_video(tmp_path / "clip.mp4", [numbered(i) for i in range(10)], fps=25))
    assert [frame.captured_at_s for frame in frames] == pytest.approx([i / 25 for i in range(10)], abs=1e-3)


def test_an_entered_video_knows_its_rate_and_length(tmp_path):
    with open_source(str(write_video(tmp_path / "clip.mp4", [numbered(i) for i in range(7)], fps=12.5))) as source:
        assert (source.live, source.fps, source.frame_count) == (False, 12.5, 7)


def test_a_frame_is_not_changed_by_reading_on(tmp_path):
    frames = iter(read(write_video(tmp_path / "clip.avi", [numbered(1), numbered(9)])))
    first = next(frames)
    next(frames)
    assert index_of(first.image_bgr) == 1


def test_a_video_cut_in_the_middle_gives_what_is_there_and_says_so(tmp_path, caplog):
    # Noise makes every frame large, so that half of the bytes end in the middle of one.
    noise = np.random.default_rng(0).integers(0, 255, (40, 120, 160, 3), dtype=np.uint8)
    whole = write_video(tmp_path / "whole.avi", list(noise)).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    frames = read(cut)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert 15 <= len(frames) <= 25
    assert [record.name for record in caplog.records] == ["fer_edge"]
    assert "ended early" in caplog.text and "40 frames" in caplog.text


def test_a_whole_video_ends_without_a_warning(tmp_path, caplog):
    read(write_video(tmp_path / "clip.avi", [numbered(i) for i in range(10)]))
    assert not caplog.records


def test_leaving_a_video_early_is_no_early_end(tmp_path, caplog):
    with open_source(str(write_video(tmp_path / "clip.avi", [numbered(i) for i in range(20)]))) as source:
        next(iter(source))
    assert not caplog.records


@pytest.fixture
def clock(monkeypatch):
    """The clock the source goes by."""
    clock = Clock()
    monkeypatch.setattr("fer_edge.sources.video.time", clock)
    return clock


def test_in_real_time_a_frame_comes_at_its_time(tmp_path, clock):
    path = write_video(tmp_path / "clip.avi", [numbered(i) for i in range(10)], fps=20)
    with open_source(str(path), real_time=True) as source:
        times_s = [(frame.captured_at_s, clock.now_s) for frame in source]
    assert times_s == [pytest.approx((i / 20, i / 20)) for i in range(10)]


def test_whoever_is_slower_than_real_time_gets_every_frame_all_the_same(tmp_path, clock):
    path = write_video(tmp_path / "clip.avi", [numbered(i) for i in range(12)], fps=100)
    indices = []
    with open_source(str(path), real_time=True) as source:
        for frame in source:
            clock.now_s += 0.03
            indices.append(frame.index)
    assert indices == list(range(12))
    assert clock.now_s == pytest.approx(12 * 0.03), "and it is kept waiting for none"


def test_a_video_is_read_ahead_by_a_thread_that_is_joined(tmp_path):
    path = write_video(tmp_path / "clip.avi", [numbered(i) for i in range(20)])
    for taken in (0, 3, 20):
        with open_source(str(path)) as source:
            frames = iter(source)
            assert [next(frames).index for _ in range(taken)] == list(range(taken))
            assert taken != 3 or [thread for thread in threading.enumerate() if thread.name.startswith("read ")]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("read ")]


# --- What only ffmpeg writes: clocks that vary or jump, pixels that are not square ----------------------------


def made(path, *words, size="96x64", length_s=1):
    """A video of a test picture, made by ffmpeg."""
    source = f"testsrc=size={size}:rate=10:duration={length_s}"
    return run_ffmpeg("-f", "lavfi", "-i", source, *words, str(path))


def run_ffmpeg(*words):
    command = shutil.which("ffmpeg")
    if command is None:
        pytest.skip("ffmpeg is absent; `apt install ffmpeg` brings it")
    subprocess.run([command, "-v", "error", "-y", *words], check=True, timeout=60)
    return Path(words[-1])


@pytest.fixture
def joined(tmp_path):
    """Two recordings put one behind the other, the clock of the second 25 hours later."""
    first = made(tmp_path / "a.ts", "-c:v", "mpeg2video")
    second = run_ffmpeg("-i", str(first), "-c", "copy", "-output_ts_offset", "90000", str(tmp_path / "b.ts"))
    return first.read_bytes(), second.read_bytes()


@pytest.mark.parametrize("order", [1, -1], ids=["forwards", "backwards"])
def test_a_clock_that_jumps_in_joined_recordings_is_bridged_and_told(tmp_path, caplog, joined, order):
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(joined[::order]))
    with open_source(str(path), real_time=True) as source:
        assert source.frame_count is None, "duration times rate is two million"
        frames = list(source)
    times = [frame.captured_at_s for frame in frames]
    assert len(times) == 20 and times == pytest.approx([i / 10 for i in range(20)], abs=0.11)
    assert caplog.text.count("its clock jumps") == 1 and "ended early" not in caplog.text


def test_a_pause_is_told_and_not_waited_for(tmp_path, caplog, clock):
    """Its time is right all the same."""
    delayed = "setpts=PTS+gte(N\\,5)*60/TB"
    path = made(tmp_path / "pause.mkv", "-vf", delayed, "-vsync", "passthrough", "-c:v", "mpeg4", length_s=1)
    with open_source(str(path), real_time=True) as source:
        times = [frame.captured_at_s for frame in source]
    assert clock.now_s < 2
    assert times[5] - times[4] == pytest.approx(60.1, abs=0.01)
    assert "nothing for 60 s by its clock" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_rate_that_varies_keeps_its_times_and_is_no_early_end(tmp_path, caplog, suffix):
    dropped = "select=not(mod(n\\,3))+between(t\\,1\\,2)"
    path = made(tmp_path / f"varies{suffix}", "-vf", dropped, "-vsync", "vfr", "-c:v", "mpeg4", length_s=4)
    frames = read(path)
    expected = [i / 10 for i in range(40) if i % 3 == 0 or 10 <= i <= 20]
    assert [frame.captured_at_s for frame in frames] == pytest.approx(expected, abs=0.002)
    assert not caplog.records


@pytest.mark.parametrize(
    ("ratio", "rotated", "shape"),
    [
        ("2/1", False, (64, 192, 3)),
        ("8/9", False, (64, 85, 3)),
        ("1/1", False, (64, 96, 3)),
        ("2/1", True, (192, 64, 3)),
        ("100/1", False, (64, 96, 3)),
    ],
    ids=["half the width", "narrow", "square", "on its side", "senseless"],
)
def test_pixels_that_are_not_square_are_made_so(tmp_path, ratio, rotated, shape):
    path = made(tmp_path / "plain.mp4", "-vf", f"setsar={ratio}", "-c:v", "mpeg4")
    if rotated:
        turned = str(tmp_path / "turned.mp4")
        path = run_ffmpeg("-i", str(path), "-c", "copy", "-metadata:s:v", "rotate=90", turned)
        if cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_ORIENTATION_META) == 0:
            pytest.skip("this ffmpeg sets a rotation in another way")
    assert {frame.image_bgr.shape for frame in read(path)} == {shape}


def test_a_video_that_is_too_large_is_refused(tmp_path):
    path = made(tmp_path / "large.mp4", "-c:v", "mpeg4", size="640x480")
    with pytest.raises(SourceError, match=r"a video of 640x480; the limit is 0\.18 million pixels a frame"):
        open_source(str(path), limit=PictureLimit(0.5, "--max-megapixels")).__enter__()


@pytest.mark.parametrize("name", ["pipe", "pipe.jpg", "pipe.mp4"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match=r"a pipe \(FIFO\), not a file"):
        open_source(str(tmp_path / name)).__enter__()
    write_image(tmp_path / "1.png", numbered(1))
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/random"])
def test_a_device_that_is_no_camera_is_refused(device):
    with pytest.raises(SourceError, match="a device, not a file"):
        open_source(device).__enter__()


# --- Orientation --------------------------------------------------------------------------------------------


def corners(image):
    return [tuple(int(value) for value in image[y, x]) for y, x in ((2, 2), (2, -3), (-3, -3), (-3, 2))]


@pytest.mark.parametrize("kind", ["photo", "folder", "video"])
@pytest.mark.parametrize(
    ("rotation", "mirror", "turned"),
    [(0, False, 0), (90, False, -1), (180, False, -2), (270, False, -3), (0, True, None)],
)
def test_the_picture_of_any_source_is_turned(tmp_path, kind, rotation, mirror, turned):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, 32:], image[24:, :32] = RED, GREEN, BLUE, (255, 255, 255)
    path = write_image(tmp_path / "photo.png", image)
    if kind == "video":
        path = write_video(tmp_path / "clip.avi", [image] * 2)
    with open_source(str(tmp_path if kind == "folder" else path), rotation_deg=rotation, mirror=mirror) as source:
        assert source.name == str(tmp_path if kind == "folder" else path)
        frame = next(iter(source))
    assert frame.image_bgr.shape[:2] == ((64, 48) if rotation in (90, 270) else (48, 64))
    expected = corners(image)
    expected = [*expected[turned:], *expected[:turned]] if turned is not None else [expected[i] for i in (1, 0, 3, 2)]
    np.testing.assert_allclose(corners(frame.image_bgr), expected, atol=25)


def test_an_image_is_one_frame_at_time_0(tmp_path):
    (frame,) = read(write_image(tmp_path / "photo.png", numbered(3)))
    assert (frame.index, frame.captured_at_s, frame.source) == (0, 0.0, str(tmp_path / "photo.png"))
    np.testing.assert_array_equal(frame.image_bgr, numbered(3))


@pytest.mark.parametrize(
    "image",
    [
        np.full((20, 30), 77, np.uint8),
        np.full((20, 30, 4), 77, np.uint8),
        np.full((20, 30), 77 * 257, np.uint16),
    ],
    ids=["grey", "bgra", "16 bits"],
)
def test_every_picture_becomes_8_bit_bgr(tmp_path, image):
    (frame,) = read(write_image(tmp_path / "photo.png", image))
    assert frame.image_bgr.dtype == np.uint8
    np.testing.assert_array_equal(frame.image_bgr, np.full((20, 30, 3), 77, np.uint8))


def test_a_folder_gives_its_pictures_in_the_order_a_person_counts(tmp_path):
    for number in (10, 9, 1):
        write_image(tmp_path / f"frame{number}.png", numbered(number))
    (tmp_path / "notes.txt").write_text("no picture")
    with open_source(str(tmp_path)) as source:
        assert source.frame_count == 3
        frames = list(source)
    assert [index_of(frame.image_bgr) for frame in frames] == [1, 9, 10]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [Path(frame.source).name for frame in frames] == ["frame1.png", "frame9.png", "frame10.png"]
    assert [frame.captured_at_s for frame in frames] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("bad", ["a.png", "b.png", "c.png"])
def test_a_damaged_picture_in_a_folder_is_left_out_with_a_warning(tmp_path, caplog, bad):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, numbered(1))
    (tmp_path / bad).write_bytes(b"")
    assert [frame.index for frame in read(tmp_path)] == [0, 1]
    assert bad in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE], ids=["red", "green", "blue"])
@pytest.mark.parametrize("kind", ["image", "folder", "mp4", "avi"])
def test_colours_arrive_as_bgr(tmp_path, kind, colour):
    if kind in ("mp4", "avi"):
        path = write_video(tmp_path / f"clip.{kind}", [plain(colour)] * 3)
    else:
        path = write_image(tmp_path / "photo.png", plain(colour))
    (frame, *_) = read(tmp_path if kind == "folder" else path)
    # Lossy codecs shift a pure colour a little, never into another channel.
    np.testing.assert_allclose(frame.image_bgr.mean(axis=(0, 1)), colour, atol=12)


def _bad_files(folder):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg"):
        data = cv2.imencode(suffix, noise)[1].tobytes()
        (folder / f"cut{suffix}").write_bytes(data[: len(data) // 2])
    movie = write_video(folder / "whole.mp4", [noise] * 20).read_bytes()
    (folder / "cut.mp4").write_bytes(movie[: len(movie) // 2])
    for name in ("empty.mp4", "empty.jpg", "empty.png"):
        (folder / name).touch()
    for name in ("text.mp4", "text.jpg", "text.png"):
        (folder / name).write_text("this is no picture\n" * 100)
    (folder / "no-images").mkdir()
    (folder / "all-bad").mkdir()
    (folder / "all-bad" / "a.png").write_text("no picture")


BAD = {
    "missing.mp4": "no such file",
    "missing.jpg": "no such file",
    "missing/": "no such file",
    "empty.mp4": "empty",
    "empty.jpg": "empty",
    "empty.png": "empty",
    "text.mp4": "not a video",
    "text.jpg": "not an image",
    "text.png": "not an image",
    "cut.mp4": "not a video",
    "cut.png": "not an image",
    "no-images": "no images",
    "all-bad": "none of 1 images",
}


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_bad_input_is_told_on_entering_in_one_line(tmp_path, name, words):
    _bad_files(tmp_path)
    source = open_source(f"{tmp_path}/{name}")
    with pytest.raises(SourceError, match=words) as refused, source:
        pass
    message = str(refused.value)
    assert Path(name).name in message and "\n" not in message
    assert refused.value.exit_code == 3


def test_a_source_that_was_not_entered_says_so(tmp_path):
    for name in ("clip.mp4", "photo.jpg"):
        with pytest.raises(SourceError, match="enter"):
            next(iter(open_source(str(tmp_path / name))))


def test_opencv_and_its_libraries_print_nothing(tmp_path):
    """In a process of its own, because they read their switches only once."""
    _bad_files(tmp_path)
    names = [f"{tmp_path}/{name}" for name in [*BAD, "cut.jpg", "whole.mp4"]] + ["http://127.0.0.1:9/", "/dev/video77"]
    script = (
        "import sys\nfrom fer_edge.errors import SourceError\nfrom fer_edge.sources import open_source\n"
        "from fer_edge.sources.live import LiveOptions\n"
        "for text in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_source(text, LiveOptions(tries=0)) as source:\n            print(len(list(source)))\n"
        "    except SourceError:\n        pass\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *names],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # The folder's warning is ours, by Python's logging; nothing else may stand there.
    assert [line for line in done.stderr.splitlines() if "Left out." not in line] == []
    assert done.stdout.split()[-1] == "20"
