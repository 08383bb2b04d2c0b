"""Models from elsewhere through the whole search: RGB, other sizes, layouts and labels, one format alone."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_edge.classifier import Classifier
from fer_edge.faces import load_faces

from boards.lab import main as lab

LABELS = ("left", "right", "top")


class Tilted(nn.Module):
    """Where a picture is red: convolutions that behave, for RGB or BGR pixels of any range."""

    def __init__(self, low: float, high: float, *, nhwc: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low, self.high, self.nhwc = low, high, nhwc
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1)
        )
        self.head = nn.Linear(16 * 64, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        if self.nhwc:
            x = x.permute(0, 3, 1, 2)
        pixels = (x - self.low) / (self.high - self.low)
        return self.head(torch.relu(self.body(pixels)).flatten(1))


def picture(label: int, generator: np.random.Generator) -> np.ndarray:
    """32 px BGR: one side is red, the rest is dull."""
    image = generator.normal(90, 25, (32, 32, 3))
    part = [np.s_[:, :14], np.s_[:, 18:], np.s_[:13, :]][label]
    image[part] += generator.normal((-30, -20, 90), 12, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def trained(low: float, high: float, *, nhwc: bool = False) -> nn.Module:
    network = Tilted(low, high, nhwc=nhwc)
    generator = np.random.default_rng(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        labels = generator.integers(0, len(LABELS), 48)
        images = np.stack([picture(label, generator) for label in labels])[..., ::-1] / 255 * (high - low) + low
        faces = torch.tensor(images, dtype=torch.float32)
        loss = nn.functional.cross_entropy(network(faces if nhwc else faces.permute(0, 3, 1, 2)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 600 pictures."""
    root, generator = tmp_path_factory.mktemp("faces"), np.random.default_rng(2)
    for label, name in enumerate(LABELS):
        (root / name).mkdir()
        for number in range(200):
            cv2.imwrite(str(root / name / f"{number}.png"), picture(label, generator))
    return root


def adopted(tmp_path: Path, network: nn.Module, *words: str, nhwc: bool = False) -> Path:
    path = tmp_path / "mine.onnx"
    shape = (2, 32, 32, 3) if nhwc else (2, 3, 32, 32)
    axes = {"x": {0: "n"}}
    torch.onnx.export(network, (torch.zeros(shape),), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
    always = ("--labels", ",".join(LABELS), "--licence", "MIT", "--out", str(tmp_path / "artifacts"))
    assert lab(["adopt", str(path), *always, *words]) == 0
    return tmp_path / "artifacts" / "mine"


def search(source: Path, faces: Path, *words: str) -> list[dict[str, str]]:
    """Quantize an artifact folder, named by itself or by a float file in it; the rows of its quantize.csv."""
    assert lab(["quantize", str(source), "--faces", str(faces), "--accept-too-few", "--force", *words]) == 0
    folder = source if source.is_dir() else source.parent
    with open(folder / "quantize.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def accuracy(file: Path, faces: Path) -> float:
    """By nothing but the contract and the engine."""
    labelled = load_faces(faces, "all", (32, 32), colour=True).in_order_of(LABELS)
    return float((Classifier(file).classify(labelled.images).argmax(axis=1) == labelled.labels).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high", "nhwc", "words"),
    [
        (0, 1, False, ("--colour", "rgb", "--range", "0..1")),
        (-1, 1, True, ("--colour", "rgb", "--range", "-1..1")),
        (0, 1, True, ("--colour", "rgb", "--mean", "0,0,0", "--std", "1,1,1")),
        # A scaling by channel stays in the graph, as its own nodes.
        (0, 1, False, ("--colour", "rgb", "--mean", "0,0,0", "--std", "0.9,1,1.1")),
        (0, 1, False, ("--colour", "rgb", "--mean", "0,0.01,0.02", "--std", "0.9,1,1.1")),
    ],
    ids=["nchw", "nhwc", "nhwc-0..1", "std by channel", "mean by channel"],
)
def test_an_rgb_network_becomes_int8_in_both_formats(low, high, nhwc, words, faces, tmp_path) -> None:
    folder = adopted(tmp_path, trained(low, high, nhwc=nhwc), *words, nhwc=nhwc)
    rows = search(folder, faces, "--recipes", "qdq-u8-quantile,tflite-quantile")
    made = [row for row in rows if row["recipe"] != "float"]
    assert [row["int8_convs"] for row in made] == ["3", "3"], made
    for suffix in ("onnx", "tflite"):
        before, after = (accuracy(folder / f"mine.{kind}.{suffix}", faces) for kind in ("fp32", "int8"))
        assert before > 0.9 and abs(before - after) < 0.02, (suffix, before, after)


@pytest.mark.slow
def test_a_tflite_alone_goes_through_the_search(faces: Path, tmp_path: Path) -> None:
    folder = adopted(tmp_path, trained(0, 1), "--colour", "rgb", "--range", "0..1")
    alone = tmp_path / "alone" / "mine"
    alone.mkdir(parents=True)
    for name in ("mine.fp32.tflite", "mine.fp32.tflite.json", "golden.npz"):
        shutil.copy(folder / name, alone / name)
    rows = search(alone / "mine.fp32.tflite", faces, "--recipes", "tflite-quantile")
    assert {row["engine"] for row in rows} == {"ai-edge-litert"}
    assert accuracy(alone / "mine.int8.tflite", faces) > 0.9
    assert json.loads((alone / "deploy.json").read_text())["deploy"][0]["file"] == "mine.int8.tflite"


@pytest.mark.parametrize("suffix", ["onnx", "tflite", "pt2", "pt", "keras"])
def test_a_file_that_was_not_adopted_is_refused_with_the_command_to_adopt_it(suffix, tmp_path, capfd) -> None:
    file = tmp_path / f"mine.{suffix}"
    if suffix == "onnx":
        torch.onnx.export(Tilted(0, 1), (torch.zeros(1, 3, 32, 32),), file, dynamo=False)
    else:
        file.write_bytes(b"of any content")
    assert lab(["quantize", str(file), "--out", str(tmp_path / "artifacts")]) == 4
    (line,) = capfd.readouterr().err.splitlines()
    assert f"`fer-edge-lab adopt {file}`" in line
    assert sorted(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_colours_in_the_other_order_are_noticed_before_anything_is_quantized(faces, tmp_path, capfd) -> None:
    folder = adopted(tmp_path, trained(0, 1), "--colour", "bgr", "--range", "0..1")
    assert lab(["quantize", str(folder), "--faces", str(faces)]) == 4
    assert "the colours in the other order" in capfd.readouterr().err
    assert not list(folder.glob("*int8*"))


@pytest.mark.slow
def test_faces_cropped_too_wide_are_noticed(faces: Path, tmp_path: Path, capfd) -> None:
    folder = adopted(tmp_path, trained(0, 1), "--colour", "rgb", "--range", "0..1")
    wide = tmp_path / "wide"
    generator = np.random.default_rng(5)
    for label, name in enumerate(LABELS):
        (wide / name).mkdir(parents=True)
        for number in range(120):
            # As a crop with a margin of 30 % shows it: the picture small, between something red and something blue.
            image = np.full((46, 46, 3), (90, 90, 90), np.uint8)
            image[:, :7], image[:, 39:] = (0, 0, 255), (255, 255, 0)
            image[7:39, 7:39] = picture(label, generator)
            cv2.imwrite(str(wide / name / f"{number}.png"), image)
    assert lab(["quantize", str(folder), "--faces", str(wide)]) == 4
    assert "faces cropped" in capfd.readouterr().err
