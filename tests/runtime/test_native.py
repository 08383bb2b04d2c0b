"""Names that are not UTF-8: OpenCV dies of them, so none reaches it as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.errors import SourceError, UsageError
from fer_edge.native import native_path, native_text
from fer_edge.sources import open_source

# A Latin-1 e with an accent, as old cameras and FAT sticks leave it.
LATIN_1 = os.fsdecode(b"caf\xe9")


def fer_edge(*words: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The command as a process of its own: a fault here would end the tests."""
    command = [sys.executable, "-m", "fer_edge", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(params=["name", "folder", "both"])
def latin_1_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file whose own name, or its folder's, holds a byte that is not UTF-8."""
    folder = tmp_path / (LATIN_1 if request.param != "name" else "plain")
    folder.mkdir()
    path = folder / (f"{LATIN_1}.bin" if request.param != "folder" else "plain.bin")
    path.write_bytes(b"contents")
    return path


def test_a_file_has_a_utf8_name_inside_the_block(latin_1_file: Path) -> None:
    with native_path(latin_1_file) as name:
        name.encode()
        assert Path(name).read_bytes() == b"contents"
    assert not Path(name).exists()


def test_a_name_in_utf8_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "中性 é:1.mp4"
    with native_path(path) as name:
        assert name == str(path)


def test_a_file_can_be_made_in_a_folder_of_such_a_name(tmp_path: Path) -> None:
    folder = tmp_path / LATIN_1
    folder.mkdir()
    with native_path(folder / "new.bin") as name:
        Path(name).write_bytes(b"x")
    assert (folder / "new.bin").read_bytes() == b"x"


def test_a_missing_file_of_such_a_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened"), native_path(tmp_path / f"{LATIN_1}.mp4"):
        pass


def test_text_for_native_code_is_utf8_without_nul() -> None:
    assert native_text("中性", "the label") == "中性"
    for text in (LATIN_1, "a\0b", "\ud800"):
        with pytest.raises(UsageError, match="the label holds"):
            native_text(text, "the label")


@pytest.mark.parametrize("address", [f"rtsp://127.0.0.1:9/{LATIN_1}", f"/dev/v4l/by-id/{LATIN_1}"])
def test_an_address_that_is_not_utf8_is_refused_before_it_is_opened(address: str) -> None:
    with pytest.raises(SourceError, match="not UTF-8"):
        open_source(address)


@pytest.mark.usefixtures("mediapipe_file")
def test_a_video_of_such_a_name_is_read_and_written(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / LATIN_1
    folder.mkdir()
    (folder / f"{LATIN_1}.mp4").symlink_to(clip)
    words = ["--source", f"{LATIN_1}.mp4", "--save-video", f"{LATIN_1}-out.avi", "--max-frames", "3", "--quiet"]
    done = fer_edge(*words, "--jsonl", "out.jsonl", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / f"{LATIN_1}-out.avi").stat().st_size > 1000
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{LATIN_1}.mp4", f"{LATIN_1}-out.avi", "out.jsonl"]
    )


@pytest.mark.usefixtures("mediapipe_file")
@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_a_missing_source_of_such_a_name_is_one_line_that_any_terminal_can_print(suffix: str, tmp_path: Path) -> None:
    done = fer_edge("--source", f"{LATIN_1}.{suffix}", "--quiet", folder=tmp_path)
    assert done.returncode == 3
    assert rf"caf\xe9.{suffix}: no such file" in done.stderr
