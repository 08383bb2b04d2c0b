"""Files of one command appear together, or not at all."""

from pathlib import Path

import pytest

from fer_edge.errors import UsageError

from export.artifacts import staged


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    with staged(folder) as staging:
        (staging / "net.onnx").write_text("model")
        assert not folder.exists()
    assert names(folder) == ["SHA256SUMS", "net.onnx"]
    assert names(tmp_path) == ["net"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "net.onnx").write_text("former")
    with pytest.raises(RuntimeError), staged(folder) as staging:
        (staging / "net.onnx").write_text("half")
        raise RuntimeError
    assert names(tmp_path) == ["net"]
    assert (folder / "net.onnx").read_text() == "former"


def test_other_files_of_the_folder_stay_and_are_summed(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with staged(folder) as staging:
        (staging / "net.onnx").write_text("model")
    assert [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()] == [
        "net.onnx",
        "notes.txt",
    ]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    with staged(tmp_path / "net") as staging:
        left = staging
    left.mkdir()
    (left / "half.onnx").write_text("half")
    with staged(tmp_path / "net") as staging:
        assert list(staging.iterdir()) == []


def test_a_place_that_cannot_be_written_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), staged(tmp_path / "file" / "net"):
        pass
