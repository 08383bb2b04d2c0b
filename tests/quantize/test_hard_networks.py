"""Networks that quantize badly come out with the hard part left float, or are refused with the layer named."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from fer_edge.classifier import Classifier
from fer_edge.contract import InputSpec
from fer_edge.faces import load_faces

from boards import lab as command
from export.contracts import float_contract
from export.metadata import put_in_tflite
from export.tflite_model import tflite_of
from quantize import tflite_graph, tflite_ptq
from quantize.ranges import collect_ranges
from quantize.recipes import AI_EDGE, Recipe
from quantize.sensitivity import Choice
from tests.export import small
from tests.quantize import hard

PIXELS = InputSpec(height_px=48, width_px=48, colour="grey", layout="NHWC", dtype="int8", low=-128, high=127)


# At this size INT8 is no faster in onnxruntime on x86, where every float island costs two conversions: the searches
# below are forced and look at accuracy and form, and the gate's verdict may name speed and size, nothing else.
def search(path: Path, faces: Path, *more: str) -> int:
    asked = ["--out", str(path.parent / "made"), "--faces", str(faces), "--count", "105"]
    return command.main(["quantize", str(path), *asked, "--recipes", "qdq-u8-quantile", *more])


def row_of(path: Path) -> dict[str, str]:
    with open(path.parent / "made" / path.stem / "quantize.csv", newline="") as stream:
        return list(csv.DictReader(stream))[1]


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV3-like network with SimAM and GroupNorm, briefly trained."""
    network = hard.trained(hard.MobileLike(nn.ReLU, simam=True))
    return hard.write_onnx(network, tmp_path_factory.mktemp("attention") / "attention.onnx")


def test_attention_and_group_norm_stay_float_and_all_convolutions_are_integer(attention: Path, faces: Path) -> None:
    search(attention, faces, "--force", "--max-drop", "1")
    row = row_of(attention)
    assert row["int8_convs"] == row["convs"] == "14"
    assert {"InstanceNormalization", "Sigmoid", "Div"} <= {part.split(":")[0] for part in row["float_ops"].split()}
    assert float(row["agreement"]) >= 0.98
    assert "accuracy" not in row["verdict"]
    assert "agreement" not in row["verdict"]
    graph = onnx.load(attention.parent / "made" / "attention" / "attention.int8.onnx").graph
    quantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    readers = {
        node.op_type for node in graph.node if node.op_type != "DequantizeLinear" and quantized & set(node.input)
    }
    # What reads integers beside convolutions reads them as the features it weighs, never as energies.
    assert not readers & {"Sigmoid", "Div"}


def test_hard_swish_is_reported_as_float_islands(faces: Path, tmp_path: Path) -> None:
    path = hard.write_onnx(hard.trained(hard.MobileLike(nn.Hardswish, simam=False)), tmp_path / "swish.onnx")
    search(path, faces, "--force", "--max-drop", "1")
    row = row_of(path)
    assert row["int8_convs"] == row["convs"] == "14"
    islands = {part.split(":")[0]: int(part.split(":")[1]) for part in row["float_ops"].split()}
    assert sum(count for kind, count in islands.items() if kind.startswith("Hard")) == 9
    assert "accuracy" not in row["verdict"]


def test_a_layer_with_an_outlier_is_refused_and_named(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = hard.trained(hard.Outlier())
    network.plant()
    path = hard.write_onnx(network, tmp_path / "outlier.onnx")
    assert search(path, faces) == 1
    error = capfd.readouterr().err
    assert "agreement" in error
    # The outlier leaves the second convolution and enters the third: there one range cannot hold both.
    assert "left float, /third/third.0/Conv brings the logits" in error
    assert not list((tmp_path / "made" / "outlier").glob("*.int8*"))
    words = error.split()
    named = [words[at + 1] for at, word in enumerate(words) if word == "--exclude"]
    assert {"/third/third.0/Conv", "/second/second.0/Conv"} <= set(named)
    search(path, faces, "--force", *(word for name in named for word in ("--exclude", name)))
    assert float(row_of(path)["agreement"]) >= 0.95


@pytest.mark.slow
def test_attention_stays_float_in_tflite(faces: Path, tmp_path: Path) -> None:
    network = hard.trained(hard.MobileLike(nn.ReLU, simam=True))
    path = tmp_path / "attention.tflite"
    path.write_bytes(tflite_of(network))
    model = tflite_graph.float_model(path, float_contract(small.info(), "1" * 64, layout="NHWC"))
    images = load_faces(faces, "Training").images[:48]
    ranges = collect_ranges(tflite_graph.activations(model, images), ("quantile",))["quantile"]
    made = tmp_path / "attention.int8.tflite"
    recipe = Recipe(name="tflite-convs", backend=AI_EDGE)
    contract = replace(float_contract(small.info(), "1" * 64, layout="NHWC"), input=PIXELS, precision="int8")
    made.write_bytes(put_in_tflite(tflite_ptq.quantized(model, ranges, recipe, Choice()), contract))
    counted = tflite_graph.count_convs(made)
    assert counted.convs == counted.int8_convs == 14
    assert "logistic" in dict(counted.float_ops)
    assert np.isfinite(Classifier(made).logits(images[:4])).all()
