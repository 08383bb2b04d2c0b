"""`adopt` and outputs that are no plain row of logits, of float16, of whole pixels and of training mode."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fer_edge.classifier import Classifier

from export.adopt.conversion import torch_of_graph
from export.adopt.network import Hints
from export.adopt.reading import open_network
from tests.export.strangers import mobilenet_v2
from tests.export.test_adopt import SEVEN, adopt, pictures, to_onnx

READY = ("--labels", SEVEN, "--colour", "rgb", "--licence", "MIT")


class Then(nn.Module):
    """A small network with something more behind its seven outputs."""

    def __init__(self, last: Callable[[Tensor], Tensor], first: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 7)
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(torch.relu(self.body(self.first(x))).amax(dim=(2, 3))))


OUTPUTS: dict[str, tuple[Callable[[Tensor], Tensor], int, str]] = {
    "classes": (lambda y: y.argmax(dim=1), 4, "such as argmax"),
    "whole": (lambda y: (100 * y).to(torch.int64), 4, "expected float scores"),
    "truths": (lambda y: y > 0, 4, "expected float scores"),
    "no-faces": (lambda y: y[0], 4, "a row of scores a face"),
    "faces-last": (lambda y: y.T, 4, "a row of scores a face"),
    "scalar": (lambda y: y.mean(), 4, "a row of scores a face"),
    "not-finite": (lambda y: y * float("nan"), 4, "not finite"),
    "sigmoid": (lambda y: torch.sigmoid(y), 2, "--meaning logits"),
    "yes-or-no": (lambda y: y[:, :1], 4, "with two"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_that_is_no_row_of_scores_is_refused_with_what_to_do(kind: str, tmp_path: Path, capfd) -> None:
    last, code, part = OUTPUTS[kind]
    path = to_onnx(Then(last), tmp_path / f"{kind}.onnx", 1, 3, 16, 16)
    assert adopt(path, *READY, "--range", "0..1", "--out", tmp_path / "out") == code
    (line,) = capfd.readouterr().err.splitlines()
    assert part in line
    assert not (tmp_path / "out").exists()


def test_a_sigmoid_a_class_is_taken_where_it_is_said_to_be_logits(tmp_path: Path) -> None:
    path = to_onnx(Then(torch.sigmoid), tmp_path / "sigmoid.onnx", 1, 3, 16, 16)
    words = (*READY, "--range", "0..1", "--meaning", "logits", "--out", tmp_path / "out")
    assert adopt(path, *words) == 0
    assert Classifier(tmp_path / "out/sigmoid/sigmoid.fp32.onnx").contract.output.meaning == "logits"


def test_a_network_that_is_still_training_is_refused(tmp_path: Path, capfd) -> None:
    network = mobilenet_v2().train()
    faces = torch.zeros(2, 3, 64, 64)
    torch.onnx.export(network, (faces,), tmp_path / "t.onnx", dynamo=False, training=torch.onnx.TrainingMode.TRAINING)
    torch.export.save(torch.export.export(network, (faces,)), tmp_path / "t.pt2")
    for name in ("t.onnx", "t.pt2"):
        assert adopt(tmp_path / name, *READY, "--range", "0..1", "--out", tmp_path / "out") == 4
        (line,) = capfd.readouterr().err.splitlines()
        assert "training mode" in line and "eval()" in line


@pytest.mark.slow
def test_float16_is_published_as_what_its_weights_compute_in_float32(tmp_path: Path) -> None:
    """onnxruntime rounds each layer to float16; what that loses is no fault of the published file."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 64), nn.ReLU(), nn.Linear(64, 7)).half()
    path = tmp_path / "half.onnx"
    torch.onnx.export(network, (torch.zeros(1, 3, 16, 16).half(),), path, dynamo=False, input_names=["picture"])
    assert adopt(path, *READY, "--range", "0..255", "--out", tmp_path / "out") == 0
    faces = pictures(8, 16)
    planes = torch.from_numpy(faces[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32))
    truth = network.float()(planes).detach().numpy()
    for suffix in ("onnx", "tflite"):
        model = Classifier(tmp_path / f"out/half/half.fp32.{suffix}")
        np.testing.assert_allclose(model.logits(faces), truth, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_a_program_that_takes_whole_pixels_becomes_both_files(tmp_path: Path) -> None:
    network = Then(lambda y: y, first=lambda x: x.permute(0, 3, 1, 2).float() / 255).eval()
    whole = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    torch.export.save(torch.export.export(network, (whole,)), tmp_path / "whole.pt2")
    assert adopt(tmp_path / "whole.pt2", *READY, "--out", tmp_path / "out") == 0
    faces = pictures(8, 16)
    truth = network(torch.from_numpy(np.ascontiguousarray(faces[..., ::-1]))).detach().numpy()
    for suffix in ("onnx", "tflite"):
        model = Classifier(tmp_path / f"out/whole/whole.fp32.{suffix}")
        np.testing.assert_allclose(model.logits(faces), truth, atol=1e-5)


def test_a_program_gets_its_batchnorms_into_its_convolutions(tmp_path: Path) -> None:
    """Torch's exporter gives convolutions without bias one that only a run makes; none of them was quantized."""
    program = torch.export.export(mobilenet_v2(), (torch.zeros(1, 3, 64, 64),))
    torch.export.save(program, tmp_path / "mobilenet.pt2")
    graph = open_network(str(tmp_path / "mobilenet.pt2"), Hints()).graph
    assert graph is not None
    kinds = {node.op_type for node in graph.graph.node}
    assert "Conv" in kinds and not kinds & {"BatchNormalization", "CastLike", "Expand", "Constant"}
    constants = {tensor.name for tensor in graph.graph.initializer}
    assert all(node.input[2] in constants for node in graph.graph.node if node.op_type == "Conv")


PLACES: dict[str, Callable[[Tensor], Tensor]] = {
    "slice": lambda x: x[:, :, 1:-1, ::3],
    "flip": lambda x: x.flip(3)[:, :, 2:],
    "chunk": lambda x: torch.cat([one * 2 for one in x.split([3, 4, 1], dim=1)], dim=1),
    "halves": lambda x: torch.cat(x.chunk(2, dim=1)[::-1], dim=1),
    "expand": lambda x: x + x.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 16, 16),
    "tile": lambda x: x.repeat(1, 1, 2, 1),
    "nearest": lambda x: nn.functional.interpolate(x, scale_factor=2),
    "bilinear": lambda x: nn.functional.interpolate(x, size=(12, 20), mode="bilinear"),
    "corners": lambda x: nn.functional.interpolate(x, size=(12, 20), mode="bilinear", align_corners=True),
    "normalised": lambda x: nn.functional.normalize(x, dim=1),
    "slopes": lambda x: nn.functional.prelu(x - 0.2, torch.linspace(-1, 1, 8)),
    "slopes-of-rows": lambda x: nn.functional.prelu((x - 0.2).transpose(1, 2), torch.linspace(-1, 1, 16)).transpose(
        1, 2
    ),
    "at-most": lambda x: x.clamp(max=0.5),
    "reflect": lambda x: nn.functional.pad(x, (1, 2, 3, 0), mode="reflect"),
}


class Between(nn.Module):
    """An operator between a convolution and the seven outputs."""

    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.made = nn.Conv2d(3, 8, 3, 1, 1), nn.Linear(8, 7), made

    def forward(self, x: Tensor) -> Tensor:
        features = self.made(torch.relu(self.body(x)))
        return self.head(features[:, :, :5, 1:].amax(dim=(2, 3)) + features.mean(dim=(2, 3)))


@pytest.mark.parametrize("kind", PLACES)
def test_operators_with_sizes_and_places_can_be_followed_by_the_exporter(kind: str, tmp_path: Path) -> None:
    """A slice is in every network with several heads; read from a tensor, no exporter of torch can follow it."""
    path = to_onnx(Between(PLACES[kind]).eval(), tmp_path / "between.onnx", 1, 3, 16, 16)
    graph = open_network(str(path), Hints()).graph
    assert graph is not None
    module = torch_of_graph(graph, str(path))
    faces = torch.rand(1, 3, 16, 16)
    program = torch.export.export(module, (faces,)).module()
    truth = onnxruntime.InferenceSession(path).run(None, {"picture": faces.numpy()})[0]
    np.testing.assert_allclose(program(faces).detach().numpy(), truth, atol=1e-5)
