"""ONNX graphs as exporters other than ours write them: functions, names in the metadata, noise, faces that mix."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from fer_edge.errors import ModelError

from export.adopt.network import Hints, Network
from export.adopt.reading import open_network
from tests.export.test_adopt import to_onnx


@pytest.fixture
def small(tmp_path: Path) -> onnx.ModelProto:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return onnx.load(to_onnx(network.eval(), tmp_path / "small.onnx", 2, 3, 16, 16, dynamic=True))


def followed_by(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> onnx.ModelProto:
    """The model with nodes behind its output, which then is the last one's."""
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", 3]))
    return model


def opened(model: onnx.ModelProto, folder: Path) -> Network:
    onnx.save(model, folder / "changed.onnx")
    return open_network(str(folder / "changed.onnx"), Hints())


def test_functions_of_a_file_are_operators_made_of_others(small: onnx.ModelProto, tmp_path: Path) -> None:
    faces = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    before = opened(small, tmp_path).run(faces)
    opsets = [helper.make_opsetid("", 17)]
    twice = helper.make_function("mine", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], opsets)
    small.functions.append(twice)
    small.opset_import.append(helper.make_opsetid("mine", 1))
    changed = followed_by(small, helper.make_node("Twice", ["scores"], ["more"], domain="mine"))
    network = opened(changed, tmp_path)
    assert network.graph is not None and not network.graph.functions
    np.testing.assert_allclose(network.run(faces), 2 * before, rtol=1e-5)


@pytest.mark.parametrize("names", ["{'x': 'a'}", "[" * 5000, "a,b,c", "__import__('os')", "{0: 1}"])
def test_metadata_that_names_no_classes_is_passed_over(names: str, small: onnx.ModelProto, tmp_path: Path) -> None:
    helper.set_model_props(small, {"names": names})
    assert opened(small, tmp_path).known_labels == ()


def test_a_network_that_gives_another_output_each_time_is_refused(small: onnx.ModelProto, tmp_path: Path) -> None:
    noise = helper.make_node("RandomNormalLike", ["scores"], ["noise"])
    with pytest.raises(ModelError, match="another output for the same face each time"):
        opened(followed_by(small, noise, helper.make_node("Add", ["scores", "noise"], ["more"])), tmp_path)


def test_a_network_that_looks_at_all_faces_at_once_takes_one(small: onnx.ModelProto, tmp_path: Path) -> None:
    """Its sign is that of the mean of all faces, which random pixels alone would not show."""
    mean = helper.make_node("ReduceMean", ["picture"], ["mean"], keepdims=0)
    sign = helper.make_node("Sign", ["mean"], ["sign"])
    network = opened(followed_by(small, mean, sign, helper.make_node("Mul", ["scores", "sign"], ["more"])), tmp_path)
    assert network.input.shape[0] == 1


def test_a_size_that_does_not_go_with_the_weights_is_asked_about(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    axes = {"picture": {2: "h", 3: "w"}}
    path, faces = tmp_path / "any.onnx", torch.zeros(1, 3, 16, 16)
    torch.onnx.export(network, (faces,), path, dynamo=False, input_names=["picture"], dynamic_axes=axes)
    with pytest.raises(ModelError, match="Is that its --size"):
        open_network(str(path), Hints(size_px=(32, 32)))
    assert open_network(str(path), Hints(size_px=(16, 16))).size_px == (16, 16)


def test_a_newer_opset_than_onnxruntime_knows_is_named(small: onnx.ModelProto, tmp_path: Path) -> None:
    small.opset_import[0].version = 99
    with pytest.raises(ModelError, match=r"newer opset than \d+. Export it again with opset"):
        opened(small, tmp_path)


def test_a_model_too_large_for_a_board_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[768, 400_000])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="absent.bin")
    entries = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 768])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 400_000])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "large", entries, outputs, [weights])
    (tmp_path / "large.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match="GB of weights"):
        open_network(str(tmp_path / "large.onnx"), Hints())
