"""Engines and classifier: what they run, and what they refuse before native code sees it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fer_edge.classifier import Classifier
from fer_edge.contract import METADATA_KEY, ModelContract
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError
from fer_edge.tflite_file import read_metadata


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
    with pytest.raises(ModelError, match="Export it again"):
        Classifier(path)


def test_an_onnx_model_of_fixed_batch_classifies_several_faces(tmp_path: Path, contract: ModelContract) -> None:
    """torch's default export has a batch of 1; two faces in a frame must not be too many for it."""
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
    onnx.save(model, tmp_path / "fixed.onnx")
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    logits = Classifier(tmp_path / "fixed.onnx").logits(faces)
    np.testing.assert_allclose(logits, faces.reshape(3, -1).astype(np.float32) @ weights, rtol=1e-4)


def test_metadata_is_read_without_a_flatbuffers_library(default_model: Path) -> None:
    data = default_model.read_bytes()
    assert '"schema_version": 1' in (read_metadata(data, METADATA_KEY, "model") or "")
    assert read_metadata(data, "no such key", "model") is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    try:
        read_metadata(b"\x10\0\0\0TFL3" + tail, METADATA_KEY, "model")
    except ModelError as error:
        assert str(error).startswith("model: ")
