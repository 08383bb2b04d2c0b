"""A checkpoint becomes float ONNX and TFLite that compute what torch computes, or nothing at all."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from safetensors.torch import save_file

from fer_edge.classifier import Classifier
from fer_edge.contract import METADATA_KEY, parse_contract
from fer_edge.files import sha256_of
from fer_edge.tflite_file import read_metadata

from boards import lab as command
from export.golden import load_golden, synthetic_faces
from export.metadata import put_in_tflite, read_tflite
from tests.export import small
from train.fit import checkpoint

MODELS = ("small.fp32.onnx", "small.fp32.tflite")


def run(*arguments: object) -> int:
    return command.main(["export", *(str(argument) for argument in arguments)])


def left_in(folder: Path) -> list[str]:
    """Everything under `folder`, hidden and temporary files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def test_writes_models_contracts_golden_vectors_and_checksums(exported: Path) -> None:
    assert left_in(exported) == sorted([*MODELS, *(f"{m}.json" for m in MODELS), "golden.npz", "SHA256SUMS"])


def test_checksums_are_what_sha256sum_reads(exported: Path) -> None:
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=exported, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == 5


@pytest.mark.parametrize("file", MODELS)
def test_logits_equal_torch_on_the_golden_inputs(exported: Path, file: str) -> None:
    golden = load_golden(exported / "golden.npz")
    np.testing.assert_allclose(Classifier(exported / file).logits(golden.inputs), golden.logits, atol=1e-4, rtol=0)


def test_golden_logits_are_those_of_the_checkpoint(exported: Path, checkpoint_path: Path) -> None:
    from train.fit.prediction import predict

    golden = load_golden(exported / "golden.npz")
    logits = predict(checkpoint.load(checkpoint_path).network, golden.inputs)
    np.testing.assert_allclose(golden.logits, logits, atol=1e-5)


@pytest.mark.parametrize("file", MODELS)
def test_contract_is_the_same_inside_and_beside(exported: Path, checkpoint_path: Path, file: str) -> None:
    inside = Classifier(exported / file).contract
    assert inside == parse_contract((exported / f"{file}.json").read_text(), file)
    assert (inside.name, inside.precision, inside.labels) == ("small", "fp32", small.LABELS)
    assert inside.checkpoint_sha256 == sha256_of(checkpoint_path)
    assert [(m.split, m.n, m.accuracy) for m in inside.measured] == [("PublicTest", 140, 0.99)]
    assert (inside.input.dtype, inside.input.low, inside.input.high) == ("uint8", 0, 255)


@pytest.mark.parametrize("file", MODELS)
def test_model_takes_raw_bytes(exported: Path, file: str) -> None:
    assert Classifier(exported / file).engine.input.dtype == "uint8"


def test_onnx_takes_any_batch(exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported / MODELS[0]))
    faces = synthetic_faces(5)[:, None]
    together = session.run(None, {"faces": faces})[0]
    alone = np.concatenate([session.run(None, {"faces": face[None]})[0] for face in faces])
    assert together.shape == (5, 7)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_onnx_graph_is_simplified_and_old_enough_for_boards(exported: Path) -> None:
    model = onnx.load(exported / MODELS[0])
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:3] == ["Cast", "Sub", "Mul"]
    assert "BatchNormalization" not in kinds
    assert "Constant" not in kinds
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)


def test_onnx_carries_the_conventional_keys(exported: Path) -> None:
    properties = {p.key: p.value for p in onnx.load(exported / MODELS[0]).metadata_props}
    assert {"description", "author", "date", "version", "license", "task", "imgsz", "names"} < set(properties)
    assert properties["imgsz"] == "[48, 48]"
    assert properties["names"].startswith("{0: 'angry', 1: 'disgust'")


def test_tflite_names_its_tensors_after_operators(exported: Path) -> None:
    names = [detail["name"] for detail in Interpreter(str(exported / MODELS[1])).get_tensor_details()]
    assert {"faces", "logits"} < set(names)
    assert max(map(len, names)) < 40


def test_tflite_weights_lie_on_sixteen_bytes(exported: Path) -> None:
    content = (exported / MODELS[1]).read_bytes()
    weights = [
        bytes(bytearray(b.data)) for b in read_tflite(content).buffers if b.data is not None and len(b.data) > 64
    ]
    assert len(weights) > 5
    assert {content.find(data) % 16 for data in weights} == {0}


def test_a_contract_put_in_twice_replaces_the_first(exported: Path) -> None:
    content = (exported / MODELS[1]).read_bytes()
    contract = Classifier(exported / MODELS[1]).contract
    again = put_in_tflite(put_in_tflite(content, contract), contract)
    assert len(read_tflite(again).metadata) == len(read_tflite(content).metadata)
    assert read_metadata(again, METADATA_KEY, "again") == contract.to_json()


def test_golden_inputs_are_synthetic_bytes_from_a_fixed_seed(exported: Path) -> None:
    inputs = load_golden(exported / "golden.npz").inputs
    assert inputs.dtype == np.uint8
    assert inputs.shape[1:] == (48, 48)
    np.testing.assert_array_equal(inputs, synthetic_faces(len(inputs)))
    assert [int(face.mean()) for face in inputs[:3]] == [0, 255, 128]
    assert inputs[3:].std(axis=(1, 2)).min() > 5


@pytest.mark.slow
def test_a_build_repeats_to_the_byte_under_source_date_epoch(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    sums = []
    for out in (tmp_path / "one", tmp_path / "two"):
        assert run(checkpoint_path, "--out", out) == 0
        sums.append((out / "small" / "SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    assert Classifier(tmp_path / "one" / "small" / MODELS[0]).contract.created == "2023-11-14"


def _damaged(path: Path, damage: str, good: Path) -> None:
    content = good.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    state = small.trained_state()
    writers = {
        "empty": lambda: path.write_bytes(b""),
        "garbage": lambda: path.write_bytes(b"not a checkpoint" * 100),
        "truncated": lambda: path.write_bytes(content[: len(content) // 2]),
        "header cut": lambda: path.write_bytes(content[: length // 2]),
        "a folder": lambda: path.mkdir(),
        "without header": lambda: save_file(state, str(path)),
        "header not JSON": lambda: save_file(state, str(path), metadata={"fer_edge": "{"}),
        "header lacks keys": lambda: save_file(state, str(path), metadata={"fer_edge": '{"labels": []}'}),
        "unknown task": lambda: checkpoint.save(path, state, small.info(task="telepathy")),
        "name is a path": lambda: checkpoint.save(path, state, small.info(name="../escape")),
        "labels repeat": lambda: checkpoint.save(path, state, small.info(labels=("happy",) * 7)),
        "too few labels": lambda: checkpoint.save(path, state, small.info(labels=("happy", "sad"))),
    }
    writers[damage]()


@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "garbage",
        "truncated",
        "header cut",
        "a folder",
        "without header",
        "header not JSON",
        "header lacks keys",
        "unknown task",
        "name is a path",
        "labels repeat",
        "too few labels",
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    damage: str, checkpoint_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.safetensors"
    _damaged(bad, damage, checkpoint_path)
    assert run(bad, "--out", tmp_path / "out") == 4
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fer-edge-lab export: ")]
    assert len(errors) == 1
    assert [name for name in left_in(tmp_path / "out") if "." in name] == []


def test_a_missing_checkpoint_prints_nothing_but_the_remedy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "nowhere.safetensors", "--out", tmp_path / "out") == 4
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "make train" in output.err


def test_a_model_that_differs_from_torch_is_not_written(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("export.onnx_model.PIXEL_MEAN", 127.5)
    assert run(checkpoint_path, "--out", tmp_path / "out") == 1
    assert "differ from the original" in capfd.readouterr().err
    assert left_in(tmp_path / "out") == []


def test_a_failed_export_leaves_the_former_artifacts(
    artifacts: Path, checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: sha256_of(path) for path in artifacts.iterdir()}
    monkeypatch.setattr("export.onnx_model.PIXEL_MEAN", 127.5)
    assert run(checkpoint_path, "--out", artifacts.parent) == 1
    assert {path.name: sha256_of(path) for path in artifacts.iterdir()} == before
    assert left_in(artifacts.parent) == sorted(["small", *(f"small/{name}" for name in before)])


def test_int8_models_of_another_checkpoint_are_removed(
    artifacts: Path, checkpoint_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    contract = json.loads((artifacts / f"{MODELS[0]}.json").read_text())
    for name, sha in (("small.int8.onnx", contract["checkpoint_sha256"]), ("small.int8.tflite", "0" * 64)):
        (artifacts / name).write_bytes(b"model")
        (artifacts / f"{name}.json").write_text(json.dumps({**contract, "checkpoint_sha256": sha}))
    assert run(checkpoint_path, "--out", artifacts.parent) == 0
    assert (artifacts / "small.int8.onnx").exists()
    assert not (artifacts / "small.int8.tflite").exists()
    assert not (artifacts / "small.int8.tflite.json").exists()
    assert "small.int8.tflite removed" in capfd.readouterr().out
    assert "int8.tflite" not in (artifacts / "SHA256SUMS").read_text()


def test_an_unwritable_folder_is_bad_usage(
    checkpoint_path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    assert run(checkpoint_path, "--out", tmp_path / "out") == 2
    assert "cannot write" in capfd.readouterr().err
    assert left_in(tmp_path) == ["out"]


def test_a_senseless_source_date_epoch_is_bad_usage(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run(checkpoint_path, "--out", tmp_path / "out") == 2
    assert "SOURCE_DATE_EPOCH" in capfd.readouterr().err
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
