"""Engines and classifier: what they run, and what they refuse before native code sees it."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge.classifier import Classifier
from fer_edge.contract import METADATA_KEY, ModelContract
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError


def patched(model: Path, target: Path, before: bytes, after: bytes) -> Path:
    """A copy of a .tflite with some bytes of its contract replaced by as many others."""
    assert len(before) == len(after)
    data = model.read_bytes()
    assert before in data
    target.write_bytes(data.replace(before, after))
    return target


def test_classifies_a_batch_as_it_does_one_by_one(default_model: Path) -> None:
    classifier = Classifier(default_model)
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    together = classifier.classify(faces)
    assert together.shape == (5, 7)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(together, np.concatenate([classifier.classify(faces[i : i + 1]) for i in range(5)]))


def test_no_face_is_no_row(default_model: Path) -> None:
    assert Classifier(default_model).classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)


def test_what_really_ran_is_reported(default_model: Path) -> None:
    engine = open_engine(default_model)
    assert engine.name in ("ai-edge-litert", "tflite-runtime")
    assert engine.version[0].isdigit()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a model", b"\x1c\0\0\0TFL3" + b"\xff" * 64])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model{suffix}"):
        open_engine(path)


@pytest.mark.parametrize("share", [0.0005, 0.03, 0.5, 0.97, 0.9995])
def test_a_truncated_model_is_refused(tmp_path: Path, default_model: Path, share: float) -> None:
    path, data = tmp_path / "cut.tflite", default_model.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"cut\.tflite"):
        open_engine(path)


def test_other_suffixes_and_absent_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"expected a \.tflite or \.onnx"):
        open_engine(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        open_engine(tmp_path / "absent.onnx")


def test_a_named_pipe_a_device_or_a_folder_as_a_model_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "device.tflite").symlink_to("/dev/zero")
    for name, kind in (("pipe.tflite", "a named pipe"), ("folder.onnx", "a folder"), ("device.tflite", "a device")):
        with pytest.raises(ModelError, match=f"{kind}, expected a file"):
            open_engine(tmp_path / name)


def test_a_file_too_large_for_a_board_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.tflite"
    with open(path, "wb") as stream:
        stream.write(b"\x1c\0\0\0TFL3")
        stream.truncate(100 << 30)
    with pytest.raises(ModelError, match="102400 MB, expected 512 MB at most"):
        open_engine(path)


def test_more_threads_than_any_board_has_are_refused(default_model: Path) -> None:
    """100,000 of them end the process with a segmentation fault."""
    with pytest.raises(ModelError, match="100000 threads, expected 1 to 64"):
        open_engine(default_model, threads=100_000)


def test_a_name_that_is_not_utf8_is_no_obstacle(tmp_path: Path, default_model: Path, contract: ModelContract) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9")
    folder.mkdir()
    tflite = folder / os.fsdecode(b"mod\xe9le.tflite")
    tflite.write_bytes(default_model.read_bytes())
    onnx.save(fixed_batch(contract)[0], folder / os.fsdecode(b"mod\xe9le.onnx"))
    assert len(Classifier(tflite).contract.labels) == len(Classifier(tflite.with_suffix(".onnx")).contract.labels)


def test_an_onnx_model_whose_metadata_is_not_utf8_is_refused(tmp_path: Path, contract: ModelContract) -> None:
    data = fixed_batch(contract)[0].SerializeToString()
    (tmp_path / "damaged.onnx").write_bytes(data.replace(b'"happy"', b'"h\xff\xffpy"'))
    with pytest.raises(ModelError, match=r"damaged\.onnx: onnxruntime cannot load it \('utf-8' codec"):
        Classifier(tmp_path / "damaged.onnx")


def test_an_onnx_model_that_fails_when_it_runs_is_refused(tmp_path: Path, contract: ModelContract) -> None:
    model, _ = fixed_batch(contract)
    model.graph.node.insert(1, helper.make_node("Reshape", ["x", "shape"], ["y"]))
    model.graph.node[2].input[0] = "y"
    model.graph.initializer.append(numpy_helper.from_array(np.array([7, 11], np.int64), "shape"))
    onnx.save(model, tmp_path / "fails.onnx")
    with pytest.raises(ModelError, match=r"fails\.onnx: onnxruntime cannot (load|run) it"):
        Classifier(tmp_path / "fails.onnx").classify(np.zeros((1, 48, 48), np.uint8))


def test_a_model_without_contract_is_refused(tmp_path: Path, default_model: Path) -> None:
    path = patched(default_model, tmp_path / "bare.tflite", b"\x08\0\0\0fer_edge", b"\x08\0\0\0xxx_edge")
    with pytest.raises(ModelError, match="no contract inside"):
        Classifier(path)


def test_a_model_of_a_newer_schema_is_refused(tmp_path: Path, default_model: Path) -> None:
    path = patched(default_model, tmp_path / "new.tflite", b'"schema_version": 1', b'"schema_version": 9')
    with pytest.raises(ModelError, match="newer than this fer-edge"):
        Classifier(path)


def test_a_contract_of_another_model_is_refused(tmp_path: Path, default_model: Path) -> None:
    path = patched(default_model, tmp_path / "other.tflite", b'"height_px": 48', b'"height_px": 64')
    with pytest.raises(ModelError, match="would need height_px 48"):
        Classifier(path)


def fixed_batch(contract: ModelContract) -> tuple[onnx.ModelProto, np.ndarray]:
    """A model with torch's default batch of 1, and the weights (2304, 7) of its only layer."""
    weights = np.random.default_rng(0).normal(0, 0.01, (2304, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["faces"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, [1, 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 7])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    return model, weights


def test_an_onnx_model_that_never_ends_is_refused(
    tmp_path: Path, contract: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_edge.engines.trial._MOST_CPU_S", 1)
    model, _ = fixed_batch(contract)
    step = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["before"], ["after"])],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    model.graph.node[2].output[0] = "first"
    model.graph.node.append(helper.make_node("Loop", ["count", "true", "first"], ["logits"], body=step))
    model.graph.initializer.append(numpy_helper.from_array(np.array(10**15, np.int64), "count"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    onnx.save(model, tmp_path / "endless.onnx")
    with pytest.raises(ModelError, match=r"endless\.onnx: onnxruntime ends with it \(no result within"):
        Classifier(tmp_path / "endless.onnx")


def test_a_model_is_tried_while_another_is_running_with_threads_of_its_own(
    tmp_path: Path, contract: ModelContract, default_model: Path
) -> None:
    """A copy of this process has none of the threads that the first model left waiting."""
    onnx.save(fixed_batch(contract)[0], tmp_path / "fixed.onnx")
    faces = np.zeros((2, 48, 48), np.uint8)
    running = [Classifier(path, threads=4) for path in (tmp_path / "fixed.onnx", default_model)]
    for path in (tmp_path / "fixed.onnx", default_model):
        for classifier in running:
            classifier.logits(faces)
        assert Classifier(path, threads=4).logits(faces).shape == (2, 7)


def test_an_onnx_model_of_fixed_batch_classifies_several_faces(tmp_path: Path, contract: ModelContract) -> None:
    """Two faces in a frame must not be too many for it."""
    model, weights = fixed_batch(contract)
    onnx.save(model, tmp_path / "fixed.onnx")
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    logits = Classifier(tmp_path / "fixed.onnx").logits(faces)
    np.testing.assert_allclose(logits, faces.reshape(3, -1).astype(np.float32) @ weights, rtol=1e-4)
