"""Files and folders that commands name, checked before hours of work; what stands there is left as it was."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest

from fer_edge.errors import DataError, UsageError

from boards import lab as command
from tests.train.conftest import write_csv, write_votes
from train import command_files
from train.command_line import artifact_path, checkpoint_path
from train.data import cache
from train.data.fer2013 import Fer2013


def test_an_output_that_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    command_files.require_output_file(tmp_path / "new" / "deep" / "out.csv", "--out")
    command_files.require_output_folder(tmp_path / "new", "--runs")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old.csv").write_text("kept")
    command_files.require_output_file(tmp_path / "old.csv", "--out")
    assert (tmp_path / "old.csv").read_text() == "kept"


@pytest.mark.parametrize(
    ("require", "name", "message"),
    [
        (command_files.require_output_file, "", "a folder. --x expects the name of a file to write"),
        (command_files.require_output_file, "file/out.csv", "/file is a file. --x expects a place inside a folder"),
        (command_files.require_output_folder, "file", "/file is a file. --x expects a place inside a folder"),
        (command_files.require_output_folder, "file/runs/a", "/file is a file. --x expects a place inside a folder"),
        (command_files.require_input, "absent", "/absent: not found. --x expects a file or folder that exists"),
        (command_files.require_input_file, "absent", "/absent: not found. --x expects a file that exists"),
    ],
)
def test_a_place_that_cannot_be_used_is_named_with_its_option(
    require: object, name: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UsageError) as refusal:
        require(tmp_path / name, "--x")
    assert message in str(refusal.value) and "\n" not in str(refusal.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_pipe_is_written_itself_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command_files.require_output_file(tmp_path / "pipe", "--out")
    with pytest.raises(UsageError, match="pipe"):
        command_files.require_input_file(tmp_path / "pipe", "PICTURE")


def test_a_link_is_followed_to_where_the_file_will_be(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "file" / "x.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        command_files.require_output_file(tmp_path / "link.csv", "--out")


@pytest.mark.parametrize("parse", [checkpoint_path, artifact_path])
def test_a_bare_name_is_a_model_and_anything_else_a_path(
    parse: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    expected = {checkpoint_path: Path("models/fer-x/fer-x.safetensors"), artifact_path: Path("artifacts/fer-x")}
    assert parse("fer-x") == expected[parse]
    for text in ("here", "./fer-x", "fer-x.onnx", "a/fer-x", ".", ".."):
        assert parse(text) == Path(text)
    for text in ("", "a\0b"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no name of a model, folder or file"):
            parse(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "fer-base", "--minutes", "0"], "argument --minutes"),
        (["train", "fer-base", "--minutes", "soon"], "argument --minutes"),
        (["train", "fer-base", "--seed", "-1"], "argument --seed"),
        (["train", "fer-base", "--seed", "4294967296"], "argument --seed"),
        (["train"], "recipe"),
        (["kfold", "fer-base", "--folds", "1"], "argument --folds"),
        (["family", "--seeds", "0"], "argument --seeds"),
        (["ablate", "plan.toml", "--jobs", "0"], "argument --jobs"),
        (["campaign", "plan.toml", "--at-once", "0"], "argument --at-once"),
        (["answers", "a.safetensors"], "--out"),
        (["answers", "a.safetensors", "--out", "a.npz", "--shift", "1.5"], "argument --shift"),
        (["answers", "a.safetensors", "--out", "a.npz", "--rotation", "181"], "argument --rotation"),
        (["evaluate", "fer-base", "--split", "Test"], "'Test' is none of the splits Training, PublicTest, PrivateTest"),
        (["ensemble", "fer-base", "--largest", "0"], "argument --largest"),
        (["annotations", "affectnet", "folder"], "--out"),
    ],
)
def test_a_word_out_of_its_range_is_one_line_and_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fer-edge-lab {words[0]}: ") and message in line


@pytest.mark.parametrize(
    "words",
    [
        ["robustness", "absent.safetensors"],
        ["probe", "absent.safetensors"],
        ["maps", "absent.safetensors"],
        ["copies", "absent.safetensors"],
        ["ensemble", "absent.safetensors"],
        ["labelsets", "absent.safetensors"],
        ["cost", "absent.safetensors"],
        ["evaluate", "absent.safetensors"],
    ],
    ids=lambda words: words[0],
)
def test_a_study_of_a_model_that_is_not_there_writes_nothing(
    words: list[str], tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.save(tiny, tmp_path / "faces.npz")
    faces = [] if words[0] == "cost" else ["--faces", str(tmp_path / "faces.npz")]
    assert command.main([*words, *faces, "--out", str(tmp_path / "out" / "out.csv")]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "checkpoint not found: absent.safetensors. Train one with `make train`" in line
    assert [path.name for path in tmp_path.iterdir()] == ["faces.npz"]


@pytest.mark.parametrize(
    "words", [["train", "fer-nano"], ["kfold", "fer-nano"], ["family"], ["ablate", "p.toml"], ["maps", "m"]]
)
def test_work_on_faces_that_were_never_read_says_how_to_read_them(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([*words, "--faces", str(tmp_path / "faces.npz")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "faces.npz not found. Make it with `make data FER2013=" in line


def test_data_of_a_subset_is_cached_and_said(tiny: Fer2013, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, votes = write_csv(tmp_path / "fer2013.csv", tiny), write_votes(tmp_path / "fer2013new.csv", tiny)
    words = ["data", str(table), "--out", str(tmp_path / "faces.npz")]
    assert command.main(words) == DataError.exit_code
    assert "42 Training faces, expected 28709. Is the file complete?" in capsys.readouterr().err
    assert not (tmp_path / "faces.npz").exists()
    assert command.main([*words, "--subset", "--ferplus", str(votes)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'faces.npz'}: 70 faces, with FER+ votes"
    np.testing.assert_array_equal(cache.load(tmp_path / "faces.npz").votes, tiny.votes)
