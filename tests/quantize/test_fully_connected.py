"""Fully connected layers before the last are integer in a .tflite, and compute what the recipe says."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from torch import nn

from fer_edge.classifier import Classifier
from fer_edge.faces import load_faces

from boards.lab import main as lab
from export.metadata import read_tflite
from export.tflite_model import operator_name
from quantize import tflite_graph

LABELS = "angry,disgust,fear,happy,sad,surprise,neutral"


class Wide(nn.Sequential):
    """Nearly all of its weights are in fully connected layers before the last, as in VGG."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 8, 5, 4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(200, 256),
            nn.ReLU(),
            nn.Linear(256, 64),
            nn.ReLU(),
            nn.Linear(64, 7),
        )


class Flat(nn.Sequential):
    """Nearly all of its weights are in the last layer, as in many a first network."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 16, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(1936, 7))


@pytest.fixture(scope="module")
def folder(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact folder of a `Wide`, with calibration.json."""
    return quantized(Wide(), "wide", faces, tmp_path_factory.mktemp("wide"))


def quantized(network: nn.Module, name: str, faces: Path, root: Path) -> Path:
    """The artifact folder of a network that learnt the drawn faces, quantized, with calibration.json."""
    training = load_faces(faces, "Training")
    pixels = torch.from_numpy(training.images[:, None] / np.float32(255))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels), torch.from_numpy(training.labels).long()).backward()
        optimizer.step()
    torch.onnx.export(network.eval(), (torch.zeros(1, 1, 48, 48),), root / f"{name}.onnx", dynamo=False)
    words = ("--labels", LABELS, "--range", "0..1", "--licence", "MIT", "--out", str(root))
    assert lab(["adopt", str(root / f"{name}.onnx"), *words]) == 0
    words = ("--faces", str(faces), "--count", "105", "--recipes", "tflite-quantile,tflite-convs")
    kept = ("--accept-too-few", "--force", "--save-calibration", str(root / name / "calibration.json"))
    assert lab(["quantize", str(root / name), *words, *kept]) == 0
    return root / name


@pytest.mark.slow
def test_all_fully_connected_layers_but_the_last_become_integer(folder: Path, faces: Path) -> None:
    with open(folder / "quantize.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["recipe"] != "float"]
    assert rows
    for row in rows:
        assert "fully_connected:1" in row["float_ops"], "the last one"
        assert "size" not in row["verdict"]
    require_small_and_same(folder, faces)


@pytest.mark.slow
def test_a_last_layer_of_most_weights_keeps_float_logits_and_integer_weights(faces: Path, tmp_path: Path) -> None:
    folder = quantized(Flat(), "flat", faces, tmp_path)
    graph = read_tflite((folder / "flat.int8.tflite").read_bytes()).subgraphs[0]
    last = graph.operators[-1]
    entered, weights, left = (graph.tensors[tensor] for tensor in (*last.inputs[:2], *last.outputs))
    assert (entered.type, weights.type, left.type) == (tflite_graph.FLOAT32, tflite_graph.INT8, tflite_graph.FLOAT32)
    assert len(weights.quantization.scale) == 1, "tflite-runtime 2.14 knows no more of a float input"
    require_small_and_same(folder, faces)


def require_small_and_same(folder: Path, faces: Path) -> None:
    images, files = (
        load_faces(faces, "PublicTest").images,
        [folder / f"{folder.name}.{x}.tflite" for x in ("fp32", "int8")],
    )
    before, after = (Classifier(file).logits(images) for file in files)
    assert (before.argmax(axis=1) == after.argmax(axis=1)).mean() >= 0.98
    assert files[1].stat().st_size < 0.35 * files[0].stat().st_size


@pytest.mark.slow
def test_they_compute_what_ranges_and_weights_say(folder: Path, faces: Path) -> None:
    """Integer arithmetic by NumPy, from the float file's weights and the calibrated ranges alone."""
    weights = float_weights(folder / "wide.fp32.tflite")
    ranges = json.loads((folder / "calibration.json").read_text())["ranges"]["tflite"]["quantile"]
    layers = [name for name in weights if name != "logits"]
    assert len(layers) == 2
    steps = []
    for values in tensors(folder / "wide.int8.tflite", load_faces(faces, "PublicTest").images[:40]):
        for name in layers:
            (entered, entry_scale, entry_zero), (left, scale, zero) = values[reads(folder, name)], values[name]
            low, high = ranges[name]
            assert scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-5)
            matrix, bias = weights[name]
            row_scales = np.abs(matrix).max(axis=1) / 127
            integers = np.round(matrix / row_scales[:, None])
            shift = np.round(bias / (row_scales * entry_scale))
            sums = (entered.astype(np.float64) - entry_zero) @ integers.T + shift
            expected = np.clip(np.round(sums * row_scales * entry_scale / scale) + zero, max(zero, -128), 127)
            steps.append(np.abs(expected - left))
    assert np.concatenate(steps).max() <= 1 and (np.concatenate(steps) > 0).mean() < 0.01


@pytest.mark.slow
def test_a_network_whose_only_such_layer_is_the_last_requires_nothing(exported: Path) -> None:
    file = exported / "small.fp32.tflite"
    model = tflite_graph.float_model(file, Classifier(file).contract)
    assert tflite_graph.last_layers(model.content) == ("logits",)
    assert tflite_graph.required_operators(model) == ()
    assert tflite_graph.FULLY_CONNECTED not in tflite_graph.optional_operators(model)


def float_weights(file: Path) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Matrix and bias of each fully connected layer, by the name of what it makes."""
    model = read_tflite(file.read_bytes())
    graph = model.subgraphs[0]

    def constant(tensor: int) -> NDArray[np.float32]:
        found = graph.tensors[tensor]
        return np.frombuffer(bytes(model.buffers[found.buffer].data), np.float32).reshape(found.shape)

    return {
        graph.tensors[operator.outputs[0]].name.decode(): (constant(operator.inputs[1]), constant(operator.inputs[2]))
        for operator in graph.operators
        if operator_name(model, operator) == "fully_connected"
    }


def reads(folder: Path, layer: str) -> str:
    """Name of the tensor that a layer of the INT8 file reads."""
    graph = read_tflite((folder / "wide.int8.tflite").read_bytes()).subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    (operator,) = (one for one in graph.operators if names[one.outputs[0]] == layer)
    return names[operator.inputs[0]]


def tensors(file: Path, images: NDArray[np.uint8]) -> list[dict[str, tuple[NDArray[np.int8], float, int]]]:
    """For each face the integers of every tensor of one scale by name, with that scale and its zero point."""
    interpreter = Interpreter(
        model_path=str(file),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = [one for one in interpreter.get_tensor_details() if len(one["quantization_parameters"]["scales"]) == 1]
    found = []
    for image in images:
        pixels = (image.astype(int) - 128).astype(np.int8)[None, :, :, None]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        interpreter.invoke()
        found.append({one["name"]: (interpreter.get_tensor(one["index"])[0], *one["quantization"]) for one in details})
    return found
