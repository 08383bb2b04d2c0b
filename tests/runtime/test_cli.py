"""The command as a user types it: what it prints, writes and answers with, on good input and bad."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge.cli import main
from fer_edge.detectors import DETECTOR_FILES
from fer_edge.models import DEFAULT_MODEL

from tests.runtime.test_engines import patched

pytestmark = pytest.mark.usefixtures("mediapipe_file")


@pytest.fixture
def photo(astronaut: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), astronaut)
    return path


@pytest.fixture
def short_clip(clip: Path, tmp_path: Path) -> Path:
    """The first 12 frames of the sample clip."""
    reader = cv2.VideoCapture(str(clip))
    path = tmp_path / "short.avi"
    writer = None
    for _ in range(12):
        _, image = reader.read()
        writer = writer or cv2.VideoWriter(
            str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (image.shape[1], image.shape[0])
        )
        writer.write(image)
    writer.release()
    return path


def test_a_photo_gives_a_line_and_a_result(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", str(photo), "--jsonl", str(tmp_path / "out.jsonl")]) == 0
    assert "happy" in capsys.readouterr().out
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    (face,) = json.loads(line)["faces"]
    assert face["expression"] == "happy"
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_a_clip_goes_to_every_sink_at_once(short_clip: Path, tmp_path: Path) -> None:
    words = ["--source", str(short_clip), "--quiet", "--max-frames", "10"]
    for flag, name in (("--jsonl", "o.jsonl"), ("--csv", "o.csv"), ("--save-video", "o.mp4")):
        words += [flag, str(tmp_path / name)]
    assert main(words) == 0
    results = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [result["frame_index"] for result in results] == list(range(10))
    assert all(len(result["faces"]) == 1 for result in results)
    assert {result["faces"][0]["track_id"] for result in results} == {0}
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 11
    assert int(cv2.VideoCapture(str(tmp_path / "o.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 10


def test_the_installed_command_is_quiet_but_for_its_results(photo: Path) -> None:
    """No engine's chatter on standard error, and nothing imported that a board has not."""
    script = (
        "import sys; from fer_edge.cli import main; code = main(sys.argv[1:]); sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--source", str(photo)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "happy" in done.stdout


def refused(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run, check exit code and that exactly one line went to standard error; the line."""
    assert main(words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fer-edge: ")
    return line


@pytest.mark.parametrize("name", ["absent.mp4", "absent.jpg", "absent_folder", "rtsp://127.0.0.1:9"])
def test_a_source_that_does_not_exist(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = name if "://" in name else str(tmp_path / name)
    assert name in refused(["--source", where, "--quiet", "--tries", "0"], 3, capsys)


@pytest.mark.parametrize("name", ["zero.jpg", "zero.mp4"])
def test_a_zero_byte_source(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).touch()
    assert name in refused(["--source", str(tmp_path / name), "--quiet"], 3, capsys)


def test_a_camera_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "63" in refused(["--camera", "63", "--tries", "0"], 3, capsys)


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_model_that_is_none(content: bytes, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    line = refused(["--source", str(photo), "--model", str(tmp_path / "model.tflite")], 4, capsys)
    assert "model.tflite" in line


def test_a_model_of_a_newer_schema(
    photo: Path, tmp_path: Path, default_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = patched(default_model, tmp_path / "new.tflite", b'"schema_version": 1', b'"schema_version": 4')
    assert "newer" in refused(["--source", str(photo), "--model", str(model)], 4, capsys)


def test_a_detector_that_is_not_there(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--source", str(photo), "--detector", "yunet", "--detector-file", str(tmp_path / "absent.onnx")]
    assert DETECTOR_FILES["yunet"].remedy in refused(words, 4, capsys)


@pytest.mark.parametrize("flag", ["--jsonl", "--csv", "--save-video"])
def test_an_output_that_cannot_be_written(
    flag: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    refused(["--source", str(photo), "--quiet", flag, str(tmp_path / "file" / "out.mp4")], 2, capsys)


def test_an_output_that_is_the_source_or_another_output(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photo.read_bytes()
    refused(["--source", str(photo), "--jsonl", str(photo)], 2, capsys)
    assert photo.read_bytes() == before
    refused(["--source", str(photo), "--jsonl", str(tmp_path / "o"), "--csv", str(tmp_path / "o")], 2, capsys)


def test_an_output_must_be_no_file_that_is_read_under_whatever_name(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "photos" / "copy.png"
    copy.parent.mkdir()
    copy.write_bytes(photo.read_bytes())
    (tmp_path / "hard").hardlink_to(copy)
    (tmp_path / "soft").symlink_to(copy)
    (tmp_path / "model.tflite").write_bytes(DEFAULT_MODEL.read_bytes())
    for source, words in (
        (copy, ["--jsonl", "hard"]),
        (copy, ["--csv", "soft"]),
        (copy, ["--jsonl", "photos/../hard"]),
        (copy.parent, ["--csv", "photos/copy.png"]),
        (photo, ["--model", "model.tflite", "--jsonl", "./model.tflite"]),
        (photo, ["--jsonl", "soft", "--csv", "hard"]),
        (photo, ["--rotate-mb", "1", "--jsonl", "new", "--csv", "new.1"]),
    ):
        words = [word if word.startswith("--") or word == "1" else f"{tmp_path}/{word}" for word in words]
        assert "choose" in refused(["--source", str(source), "--quiet", *words], 2, capsys)
    assert copy.read_bytes() == photo.read_bytes()
    assert main(["--source", str(photo), "--quiet", "--jsonl", "/dev/null", "--csv", "/dev/null"]) == 0


def test_a_disk_that_fills_up_is_told_by_the_exit_code(
    short_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file-size limit stands in for the full disk; the terminal went on to the end."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900));"
        "from fer_edge.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["--source", str(short_clip), "--jsonl", str(tmp_path / "out.jsonl")]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "results are incomplete" in done.stderr
    assert all(json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())


def test_a_video_for_which_the_disk_is_full_is_told_of(short_clip: Path, tmp_path: Path) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
        "from fer_edge.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["--source", str(short_clip), "--quiet", "--save-video", str(tmp_path / "out.mp4")]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "12 of 12 frames are missing in it (File too large)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["short.avi"]


@pytest.mark.parametrize("flag", ["--jsonl", "--csv", "--save-video"])
@pytest.mark.parametrize("name", ["", ".", "{folder}"])
def test_an_output_that_names_no_file(
    flag: str, name: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["--source", str(photo), "--quiet", flag, name.format(folder=tmp_path)], 2, capsys)


def test_a_refused_output_does_not_empty_another(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.jsonl").write_text("{}\n")
    words = ["--source", str(photo), "--jsonl", str(tmp_path / "old.jsonl"), "--save-video", str(tmp_path / "o.txt")]
    refused(words, 2, capsys)
    assert (tmp_path / "old.jsonl").read_text() == "{}\n"


def test_odd_paths_are_one_line(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    refused(["--source", str(tmp_path / "loop.mp4"), "--jsonl", str(tmp_path / "o")], 3, capsys)
    refused(["--source", str(photo), "--model", "x" * 300 + ".tflite"], 4, capsys)
    refused(["bench", "-n", "2", "--warmup", "1", "--out", str(tmp_path)], 2, capsys)


def test_recordings_named_by_the_time_are_read_and_written(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFMPEG takes a relative name with a colon in it for the address of a protocol."""
    monkeypatch.chdir(tmp_path)
    short_clip.rename(tmp_path / "2026-01-01T12:30.avi")
    assert main(["--source", "2026-01-01T12:30.avi", "--quiet", "--save-video", "out:12:30.mp4"]) == 0
    assert (tmp_path / "out:12:30.mp4").stat().st_size > 1000


def test_a_reader_that_leaves_early_is_no_error(clip: Path, tmp_path: Path) -> None:
    """`fer-edge ... | head -1`: the other sinks finish their work."""
    command = f"{sys.executable} -m fer_edge --source {clip} --max-frames 30 --jsonl {tmp_path}/o.jsonl | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 30


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--camera", "front"],
        ["--camera", "0", "--source", "x.mp4"],
        ["--source", "x.mp4", "--min-score", "7"],
        ["--source", "x.mp4", "--max-frames", "0"],
        ["--source", "x.mp4", "--detector", "haar"],
        ["--source", "x.mp4", "--no-such-flag"],
        ["--source", "x.mp4", "--detect", "never"],
        ["--source", "x.mp4", "--roi", "0,0,2,2"],
        ["--source", "x.mp4", "--target-fps", "0"],
        ["--source", "x.mp4", "--privacy", "some"],
    ],
)
def test_bad_usage_exits_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save-video", "out.mp4", "--privacy", "numbers"], "--privacy numbers forbids"),
        (["--web", "host"], "expected a port"),
        (["--web", "0.0.0.0:0", "--web-token", "short"], "at least 12"),
        (["--metrics", ":"], "--metrics"),
        (["--mqtt", "broker"], "expected mqtt://"),
    ],
)
def test_a_sink_that_is_badly_named_is_refused_before_anything_is_written(
    words: list[str], message: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert message in refused(["--source", str(photo), "--quiet", "--jsonl", str(out), *words], 2, capsys)
    assert not out.exists()


def test_models_lists_what_the_package_carries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "fer-base.int8" in out
    assert "mediapipe" in out
    assert "yunet" in out


def test_bench_writes_every_stage(photo: Path, tmp_path: Path) -> None:
    words = ["bench", "--source", str(photo), "-n", "5", "--warmup", "2", "--out", str(tmp_path / "bench.csv")]
    assert main(words) == 0
    assert len((tmp_path / "bench.csv").read_text().splitlines()) == 1 + 1 + 8


def test_sigterm_closes_the_sinks(clip: Path, tmp_path: Path) -> None:
    """`systemctl stop` in the middle: exit 0, and the last line of the JSONL is whole."""
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "fer_edge", "--source", str(clip), "--quiet", "--jsonl", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        for _ in range(600):
            if out.is_file() and out.stat().st_size > 2000:
                break
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        process.terminate()
        assert process.wait(5) == 0
    lines = out.read_text().splitlines()
    assert [json.loads(line)["frame_index"] for line in lines] == list(range(len(lines)))


def test_a_thread_that_hangs_in_a_driver_does_not_disturb_the_end():
    """Python would end such a thread through C++ when it comes back, and so abort the whole process."""
    script = (
        "import sys, threading, time\nfrom fer_edge.cli import end_process\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "print('all is written')\nend_process(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (3, "all is written\n", "")
