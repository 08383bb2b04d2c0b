"""Files that passed are kept: targets lie side by side, a folder knows its model, a failed attempt removes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from fer_edge.errors import ModelError
from fer_edge.files import sha256_of

from boards import lab as command
from quantize.deployment import Deployment, deployment_for, read_deployments, write_deployments
from quantize.report import read_cells
from tests.quantize.networks import foreign
from tests.quantize.test_search import blanked


def run(*words: object) -> int:
    return command.main(["quantize", *(str(word) for word in words), "--accept-too-few"])


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern)) if path.is_file()}


def test_two_targets_lie_side_by_side_in_files_table_and_deploy_json(artifacts: Path, faces: Path) -> None:
    asked = (artifacts, "--faces", faces, "--count", 70)
    assert run(*asked, "--recipes", "qdq-u8-quantile,tflite-quantile") == 0
    before = contents(artifacts, "*.int8*")
    assert run(*asked, "--recipes", "qdq-s8-quantile,tflite-quantile", "--target", "armv8.2-dot") == 0
    assert contents(artifacts, "*.int8*").items() >= before.items()
    files = {row["file"]: row["target"] for row in read_cells(artifacts / "quantize.csv") if row["file"]}
    assert files["small.int8.onnx"] == "x86"
    assert files["small.int8.armv8.2-dot.onnx"] == files["small.int8.armv8.2-dot.tflite"] == "armv8.2-dot"
    for target, name in (("x86", "small.int8.tflite"), ("armv8.2-dot", "small.int8.armv8.2-dot.tflite")):
        chosen = deployment_for(artifacts, target, "tflite")
        assert chosen is not None
        assert (chosen.file, chosen.precision, chosen.sha256) == (name, "int8", sha256_of(artifacts / name))


def test_an_attempt_that_fails_removes_nothing_and_the_file_that_passed_is_still_deployed(
    artifacts: Path, faces: Path, tmp_path: Path
) -> None:
    asked = ("--count", 70, "--recipes", "qdq-u8-quantile")
    assert run(artifacts, "--faces", faces, *asked) == 0
    before = contents(artifacts, "*.int8*")
    sabotaged = blanked(faces, 128, tmp_path / "blank.npz")
    assert run(artifacts, "--faces", sabotaged, *asked) == 1
    assert contents(artifacts, "*.int8*") == before
    rows = read_cells(artifacts / "quantize.csv")
    assert [row["verdict"].split(":")[0] for row in rows] == ["reference", "fail", "too few faces"]
    chosen = deployment_for(artifacts, "x86", "onnx")
    assert chosen is not None
    assert chosen.file == "small.int8.onnx"


def test_where_int8_does_not_pass_the_float_file_is_deployed_with_the_reason(
    artifacts: Path, faces: Path, tmp_path: Path
) -> None:
    sabotaged = blanked(faces, 128, tmp_path / "blank.npz")
    assert run(artifacts, "--faces", sabotaged, "--count", 70, "--recipes", "qdq-u8-quantile") == 1
    chosen = deployment_for(artifacts, "x86", "onnx")
    assert chosen is not None
    assert (chosen.file, chosen.precision) == ("small.fp32.onnx", "fp32")
    assert chosen.reason.startswith("INT8 not passed, qdq-u8-quantile: fail: ")


def test_half_precision_is_tried_and_deployed_where_int8_fails(artifacts: Path, faces: Path) -> None:
    # Ranges of the synthetic golden inputs say nothing of faces with this limit: every INT8 candidate fails.
    asked = (artifacts, "--faces", faces, "--count", 70, "--recipes", "tflite-fp16,onnx-fp16")
    run(*asked)
    rows = {row["recipe"]: row for row in read_cells(artifacts / "quantize.csv")}
    for recipe, suffix in (("tflite-fp16", "tflite"), ("onnx-fp16", "onnx")):
        assert rows[recipe]["precision"] == "fp16"
        assert float(rows[recipe]["agreement"]) == 1
        assert 0.45 < float(rows[recipe]["size_ratio"]) < 0.6
        if rows[recipe]["file"]:  # the speed of half precision in onnxruntime depends on the machine
            assert rows[recipe]["file"] == f"small.fp16.{suffix}"
            assert deployment_for(artifacts, "x86", suffix).precision == "fp16"  # type: ignore[union-attr]


def test_two_models_of_one_name_do_not_share_a_folder(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = foreign(tmp_path / "model.onnx")
    asked = ("--out", tmp_path / "made", "--faces", faces, "--count", 70, "--recipes", "qdq-u8-quantile", "--force")
    assert run(first, *asked) == 0
    before = contents(tmp_path / "made" / "model", "*")
    (tmp_path / "other").mkdir()
    second = foreign(tmp_path / "other" / "model.onnx", pool="MaxPool")
    assert run(second, *asked) == 2
    assert "holds another float model" in capfd.readouterr().err
    assert contents(tmp_path / "made" / "model", "*") == before
    assert run(first, *asked) == 0  # the same model again is no other one


def test_deploy_json_is_read_back_and_a_damaged_one_refused(tmp_path: Path) -> None:
    entry = Deployment(target="x86", suffix="onnx", file="a.onnx", precision="int8", sha256="0" * 64, reason="passed")
    write_deployments(tmp_path / "deploy.json", (entry,))
    assert read_deployments(tmp_path) == (entry,)
    assert deployment_for(tmp_path, "armv8", "onnx") is None
    table = json.loads((tmp_path / "deploy.json").read_text())
    for damaged in ("", "[]", json.dumps({**table, "schema_version": 2}), json.dumps({**table, "deploy": [{"a": 1}]})):
        (tmp_path / "deploy.json").write_text(damaged)
        with pytest.raises(ModelError, match=r"deploy\.json"):
            read_deployments(tmp_path)


def test_rows_of_another_float_model_are_not_kept(artifacts: Path, faces: Path) -> None:
    asked = ("--faces", faces, "--count", 70, "--recipes", "qdq-u8-quantile")
    assert run(artifacts, *asked) == 0
    table = artifacts / "quantize.csv"
    table.write_text(table.read_text().replace(sha256_of(artifacts / "small.fp32.onnx"), "f" * 64))
    assert run(artifacts, "--faces", faces, "--count", 70, "--recipes", "qdq-s8-quantile", "--target", "armv8") == 0
    assert {row["target"] for row in read_cells(table)} == {"armv8"}
    shutil.rmtree(artifacts / ".search")
