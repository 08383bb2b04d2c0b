"""Inspect compares each layer with float, also of a model that was refused."""

import shutil
from pathlib import Path

import pytest

from boards import lab as command


def inspect(*arguments: object) -> int:
    return command.main(["inspect", *(str(argument) for argument in arguments)])


def test_every_layer_is_listed_with_its_noise_and_what_it_runs_on(
    quantized: Path, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "worst.png"
    assert inspect(quantized, "--faces", faces, "--count", 105, "--plot", plot) == 0
    output = capfd.readouterr().out
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.startswith("/")}
    # Three of the nine are in front of a shortcut's sum and stand alone; the others are one layer with their Relu.
    convs = [words for words in lines.values() if words[1].startswith("Conv")]
    assert len(convs) == 9
    assert all(10 < float(words[2]) < 99 for words in convs)
    assert {words[-1] for words in convs} == {"integers"}
    assert lines["/ReduceMean"][-1] == "float"
    assert "QLinearConv: 9 of 9 convolutions" in output
    assert "computed in float: " in output
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_refused_model_can_be_inspected(artifacts: Path, faces: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["quantize", str(artifacts), "--faces", str(faces), "--count", "70", "--recipes", "qdq-u8-quantile"]
    assert command.main(asked) == 1  # the faces are too few, so only the work folder knows it
    assert inspect(artifacts, "--faces", faces, "--count", 70) == 0
    assert "9 of 9 convolutions" in capfd.readouterr().out


def test_a_model_without_its_recipe_is_refused(quantized: Path, tmp_path: Path, faces: Path) -> None:
    alone = tmp_path / "small.int8.onnx"
    shutil.copyfile(quantized / "small.int8.onnx", alone)
    assert inspect(alone, "--faces", faces) == 4


def test_a_folder_without_int8_is_refused(artifacts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inspect(artifacts) == 4
    assert "no INT8 .onnx" in capfd.readouterr().err


def test_a_folder_of_tflite_alone_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert inspect(tmp_path) == 4
    assert "no float .onnx" in capfd.readouterr().err


def test_the_curve_is_written_with_a_row_for_each_model(exported: Path, faces: Path, tmp_path: Path) -> None:
    table = tmp_path / "calibration.csv"
    arguments = ["calibration-curve", exported, "--faces", faces, "--counts", "32,64", "--seeds", "0", "--out", table]
    assert command.main([str(argument) for argument in arguments]) == 0
    head, *rows = table.read_text().splitlines()
    assert head == "model,method,count,seed,agreement,dataset,n"
    assert [row.split(",")[1:3] for row in rows] == [
        ["quantile", "32"],
        ["minmax", "32"],
        ["quantile", "64"],
        ["minmax", "64"],
    ]
    assert all(0.9 < float(row.split(",")[4]) <= 1 for row in rows)
    assert table.with_suffix(".png").is_file()
