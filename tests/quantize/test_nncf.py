"""NNCF's candidates: one type of activation, bias corrected, layers taken back, and training that ends in integers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fer_edge.errors import ModelError
from fer_edge.faces import LabelledFaces, load_faces

from quantize import nncf_ptq, nncf_qat, qat
from quantize.onnx_graph import FloatGraph, activations, float_graph
from quantize.qdq_graph import count_convs
from quantize.recipes import NNCF, NNCF_ACCURACY, NNCF_QAT, Recipe
from train import architectures
from train.fit import checkpoint

COUNT = 32


@pytest.fixture(scope="module")
def graph(exported: Path) -> FloatGraph:
    return float_graph(exported / "small.fp32.onnx")


@pytest.fixture(scope="module")
def training(faces: Path) -> LabelledFaces:
    return load_faces(faces, "Training")


def logits(graph: FloatGraph, model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return np.concatenate([batch["logits"] for batch in activations(graph, model, ("logits",), images)])


def agreement(graph: FloatGraph, model: onnx.ModelProto, images: np.ndarray) -> float:
    first, second = (logits(graph, candidate, images).argmax(1) for candidate in (graph.body, model))
    return float((first == second).mean())


def activation_types(model: onnx.ModelProto) -> set[int]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {constants[n.input[2]].data_type for n in model.graph.node if n.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("kind", ["u8", "s8"])
def test_activations_are_of_one_type_and_every_convolution_fuses(
    kind: str, graph: FloatGraph, training: LabelledFaces, tmp_path: Path
) -> None:
    recipe = Recipe(name="nncf", backend=NNCF, activations=kind, bias_correction="none")
    model = nncf_ptq.quantized(graph, training.balanced(COUNT, 0), recipe)
    expected_type = onnx.TensorProto.UINT8 if kind == "u8" else onnx.TensorProto.INT8
    assert activation_types(model) == {expected_type}
    assert model.graph.input[0].type.tensor_type.elem_type == expected_type
    onnx.save(model, tmp_path / "made.onnx")
    counted = count_convs(tmp_path / "made.onnx", as_on_arm=kind == "s8")
    assert counted.convs == counted.int8_convs == 9
    assert agreement(graph, model, training.images[:60]) >= 0.95


def test_accuracy_control_keeps_the_drop(graph: FloatGraph, training: LabelledFaces, faces: Path) -> None:
    judged = load_faces(faces, "PublicTest")
    recipe = Recipe(name="control", backend=NNCF_ACCURACY)
    model = nncf_ptq.accuracy_controlled(graph, training.balanced(COUNT, 0), judged, recipe, 1.0)
    before, after = (
        (logits(graph, candidate, judged.images).argmax(1) == judged.labels).mean() for candidate in (graph.body, model)
    )
    assert after >= before - 0.01


def test_batch_norm_folds_without_changing_the_network() -> None:
    network = architectures.build("fer_residual", {"stem": 8, "widths": [8, 16], "depths": [1, 1]}).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    inputs = torch.randn(4, 1, 48, 48)
    folded = qat.folded(network, inputs)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(folded(inputs), network(inputs), atol=1e-4, rtol=1e-4)
    assert [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]  # the original is left alone


@pytest.mark.slow
def test_trained_with_quantizers_every_convolution_is_integer(
    graph: FloatGraph, checkpoint_path: Path, training: LabelledFaces, tmp_path: Path
) -> None:
    recipe = replace(Recipe(name="qat", backend=NNCF_QAT), steps=3)
    teacher = checkpoint.load(checkpoint_path).network
    model = nncf_qat.quantized(graph, teacher, training, training.balanced(COUNT, 0), recipe)
    onnx.save(model, tmp_path / "qat.onnx")
    counted = count_convs(tmp_path / "qat.onnx")
    assert counted.convs == counted.int8_convs == 9
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    stored = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert stored == {onnx.TensorProto.INT8}  # the weights are kept as integers, not made so at run time
    assert agreement(graph, model, training.images[:60]) >= 0.95


def test_networks_that_cannot_be_traced_are_folded_too() -> None:
    class Branching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(1, 4, 3, bias=False), torch.nn.BatchNorm2d(4)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            made = self.norm(self.conv(faces))
            return made if made.mean() > 1e9 else made.relu()  # what is done depends on values

    folded = qat.folded(Branching(), torch.randn(2, 1, 8, 8))
    assert isinstance(folded.norm, torch.nn.Identity)


def test_a_batch_norm_that_is_not_alone_behind_its_convolution_is_refused() -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(3)

        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            made = self.conv(faces)
            return self.norm(made) + made

    with pytest.raises(ModelError, match="folding BatchNorm changes"):
        qat.folded(Shared(), torch.randn(2, 1, 8, 8))


@pytest.mark.slow
def test_a_network_trained_to_bear_rounding_is_a_float_network_again(
    graph: FloatGraph, checkpoint_path: Path, training: LabelledFaces
) -> None:
    teacher = checkpoint.load(checkpoint_path).network
    made = qat.finetuned(teacher, graph, training, training.balanced(COUNT, 0), 3, 1e-4)
    assert not [m for m in made.modules() if isinstance(m, torch.nn.BatchNorm2d) or hasattr(m, "parametrizations")]
    faces = torch.from_numpy(graph.feed(training.images[:60]))
    with torch.no_grad():
        first, second = teacher.eval()(faces), made(faces)
    assert (first.argmax(1) == second.argmax(1)).float().mean() >= 0.95
    assert not torch.equal(first, second)
    assert [m for m in teacher.modules() if isinstance(m, torch.nn.BatchNorm2d)]  # the teacher is left alone
