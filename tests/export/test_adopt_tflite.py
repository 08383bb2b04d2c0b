"""Float .tflite files from elsewhere: in either layout, of whole pixels, and what is refused of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_edge.classifier import Classifier

from export.metadata import read_tflite, write_tflite
from export.quiet import quiet
from tests.export.test_adopt import adopt, pictures

READY = ("--labels", "a,b,c", "--colour", "rgb", "--licence", "MIT")
pytestmark = pytest.mark.slow


class Around(nn.Module):
    """A small network (n, 3, 16, 16) -> (n, 3) with something before and behind it."""

    def __init__(self, first: Callable[[Tensor], Tensor], last: Callable[[Tensor], Tensor] = lambda y: y) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.first, self.last = first, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.head(torch.relu(self.body(self.first(x))).amax(dim=(2, 3))))


def write(network: nn.Module, path: Path, faces: Tensor) -> Path:
    with quiet():
        import litert_torch

        path.write_bytes(litert_torch.convert(network.eval(), (faces,)).model_content())
    return path


def test_a_file_of_torchs_layout_keeps_it_and_its_channels_are_scaled_apart(tmp_path: Path) -> None:
    network = Around(lambda x: x)
    path = write(network, tmp_path / "planes.tflite", torch.zeros(1, 3, 16, 16))
    assert adopt(path, *READY, "--range", "imagenet", "--out", tmp_path / "out") == 0
    model = Classifier(tmp_path / "out/planes/planes.fp32.tflite")
    assert model.contract.input.layout == "NCHW"
    faces = pictures(6, 16)
    scaled = (faces[..., ::-1] / 255.0 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    truth = network(torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(model.logits(faces), truth, atol=1e-5)


def test_a_float_network_that_takes_whole_pixels_needs_no_range(tmp_path: Path) -> None:
    """As ours are: a published file may be adopted again."""
    network = Around(lambda x: x.permute(0, 3, 1, 2).float() / 255)
    path = write(network, tmp_path / "whole.tflite", torch.zeros(1, 16, 16, 3, dtype=torch.uint8))
    assert adopt(path, *READY, "--out", tmp_path / "out") == 0
    faces = pictures(6, 16)
    truth = network(torch.from_numpy(np.ascontiguousarray(faces[..., ::-1]))).detach().numpy()
    published = tmp_path / "out/whole/whole.fp32.tflite"
    np.testing.assert_allclose(Classifier(published).logits(faces), truth, atol=1e-5)
    assert adopt(published, *READY, "--name", "again", "--out", tmp_path / "out") == 0
    np.testing.assert_allclose(Classifier(tmp_path / "out/again/again.fp32.tflite").logits(faces), truth, atol=1e-5)


def test_tensors_need_no_names_and_pictures_a_fixed_size(tmp_path: Path, capfd) -> None:
    path = write(Around(lambda x: x.permute(0, 3, 1, 2)), tmp_path / "named.tflite", torch.zeros(1, 16, 16, 3))
    model = read_tflite(path.read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    (tmp_path / "nameless.tflite").write_bytes(write_tflite(model))
    words = (*READY, "--range", "0..1", "--out", tmp_path / "out")
    assert adopt(tmp_path / "nameless.tflite", *words) == 0
    assert adopt(path, *words, "--size", "32x32") == 2
    assert "Leave --size out" in capfd.readouterr().err
    entry = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    entry.shape, entry.shapeSignature = [1, 1, 1, 3], [-1, -1, -1, 3]
    (tmp_path / "any.tflite").write_bytes(write_tflite(model))
    assert adopt(tmp_path / "any.tflite", *words) == 4
    assert "fixed size" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("count", "last", "part"),
    [
        (4, lambda y: y, "batch of 1"),
        (1, lambda y: y[0], "(1, classes)"),
        (1, lambda y: y.argmax(dim=1), "such as argmax"),
    ],
)
def test_what_gives_no_row_of_scores_for_one_face_is_refused(count, last, part, tmp_path: Path, capfd) -> None:
    path = write(Around(lambda x: x, last), tmp_path / "other.tflite", torch.zeros(count, 3, 16, 16))
    capfd.readouterr()
    assert adopt(path, *READY, "--range", "0..1", "--out", tmp_path / "out") == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert part in line and not (tmp_path / "out").exists()
