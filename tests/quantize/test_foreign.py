"""Networks as other people export them: their operators become integer where that pays, found by measuring."""

import csv
import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from fer_edge.classifier import Classifier
from fer_edge.faces import load_faces

from boards import lab as command
from export.metadata import put_in_onnx
from quantize.deployment import deployment_for
from tests.export import small
from tests.quantize.networks import foreign

FORMS = {
    "plain": {},
    "relu6": {"activation": "Clip"},
    "max-pool": {"pool": "MaxPool"},
    "softmax-head": {"softmax": True},
    "nhwc": {"layout": "NHWC"},
}


def run(*words: object) -> int:
    return command.main(["quantize", *(str(word) for word in words)])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "quantize.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("form", FORMS)
def test_every_convolution_becomes_integer_and_little_else_stays_float(form: str, faces: Path, tmp_path: Path) -> None:
    path = foreign(tmp_path / f"{form}.onnx", **FORMS[form])
    asked = ("--out", tmp_path / "made", "--faces", faces, "--count", 105, "--recipes", "qdq-u8-quantile", "--force")
    assert run(path, *asked) == 0
    row = rows_of(tmp_path / "made" / form)[1]
    assert row["int8_convs"] == row["convs"] == "2"
    islands = {part.split(":")[0] for part in row["float_ops"].split()}
    assert islands <= {"ReduceMean", "Softmax"}, islands
    assert float(row["agreement"]) >= 0.97
    model = Classifier(tmp_path / "made" / form / f"{form}.int8.onnx")
    assert (model.contract.input.dtype, model.contract.input.layout) == ("uint8", "NCHW")
    images = load_faces(faces, "PublicTest").images
    float_model = Classifier(path)
    assert (model.logits(images).argmax(1) == float_model.logits(images).argmax(1)).mean() >= 0.97


def test_the_scaling_of_an_nhwc_input_is_the_first_integer(faces: Path, tmp_path: Path) -> None:
    path = foreign(tmp_path / "keras.onnx", layout="NHWC")
    asked = ("--out", tmp_path / "made", "--faces", faces, "--count", 105, "--recipes", "qdq-u8-quantile", "--force")
    assert run(path, *asked) == 0
    graph = onnx.load(tmp_path / "made" / "keras" / "keras.int8.onnx").graph
    (reader,) = [node for node in graph.node if "faces" in node.input]
    assert reader.op_type == "DequantizeLinear"
    assert not {"Cast", "Transpose", "Div"} & {node.op_type for node in graph.node}


def test_recipes_that_make_the_same_graph_are_one_candidate(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "plain.onnx")  # without shortcuts: nothing but convolutions to be integer
    recipes = "qdq-u8-quantile,qdq-u8-convs,qdq-u8-everything"
    asked = ("--out", tmp_path / "made", "--faces", faces, "--count", 105, "--recipes", recipes, "--accept-too-few")
    run(path, *asked)
    assert "left out qdq-u8-convs: makes the same graph as qdq-u8-quantile" in capfd.readouterr().out
    assert [row["recipe"] for row in rows_of(tmp_path / "made" / "plain")] == ["float", "qdq-u8-quantile"]


def folder_of(count: int, root: Path) -> Path:
    """A user's folder of `count` labelled pictures, half of which will judge."""
    images, labels = small.drawn_faces(count, seed=count)
    for label in small.LABELS:
        (root / label).mkdir(parents=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        cv2.imwrite(str(root / small.LABELS[label] / f"{index}.png"), image)
    return root


@pytest.mark.parametrize("judges", [32, 140])
def test_a_small_folder_decides_nothing_and_neither_blocks_nor_passes_in_silence(
    judges: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, own = foreign(tmp_path / "mine.onnx"), folder_of(2 * judges, tmp_path / "faces")
    # A target whose speed is not judged, as so small a network gains nothing from integers on x86.
    asked = (path, "--out", tmp_path / "made", "--faces", own, "--recipes", "qdq-s8-symmetric-quantile")
    asked += ("--target", "jetson-trt")
    assert run(*asked) == 1
    error = capfd.readouterr().err
    assert "too few faces: agreement" in error
    assert re.search(r"Give about \d[\d,]* labelled faces to judge on \(half of a folder calibrates\)", error)
    assert "--accept-too-few" in error
    made = tmp_path / "made" / "mine"
    assert not list(made.glob("*.int8*"))
    chosen = deployment_for(made, "jetson-trt", "onnx")
    assert chosen is not None
    assert (chosen.precision, chosen.reason.split(":")[1].strip()) == ("fp32", "too few faces")
    assert run(*asked, "--accept-too-few") == 0
    contract = Classifier(made / "mine.int8.jetson-trt.onnx").contract
    assert contract.quantization is not None
    assert (contract.quantization.forced, "faces would tell" in (contract.quantization.failed or "")) == (False, True)


def test_a_large_folder_decides(tmp_path: Path) -> None:
    path, own = foreign(tmp_path / "mine.onnx"), folder_of(2 * 1794, tmp_path / "faces")
    asked = (path, "--out", tmp_path / "made", "--faces", own, "--recipes", "qdq-s8-symmetric-quantile")
    assert run(*asked, "--target", "jetson-trt") == 0
    (row,) = [row for row in rows_of(tmp_path / "made" / "mine") if row["precision"] == "int8"]
    assert row["verdict"].startswith("pass")
    assert row["agreement_n"] == "1794"


def relabelled(path: Path, labels: tuple[str, ...]) -> Path:
    model, contract = onnx.load(path), Classifier(path).contract
    put_in_onnx(model, dataclasses.replace(contract, labels=labels))
    onnx.save(model, path)
    return path


def refused(path: Path, faces: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the message on a float model that is refused before anything is quantized."""
    made = path.parent / "made"
    assert run(path, "--out", made, "--faces", faces, "--count", 105) == 4
    assert not list((made / path.stem).glob("*.int8*"))
    assert not list((made / path.stem / ".search").glob("*/trial.json"))
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    return error


def test_rotated_labels_are_refused_and_the_right_order_is_named(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "rotated.onnx")
    right = Classifier(path).contract.labels
    error = refused(relabelled(path, (*right[1:], right[0])), faces, capfd)
    assert f"with the label order {', '.join(right)} it scores" in error


def test_two_labels_that_are_swapped_are_noticed_although_most_faces_are_right(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "swapped.onnx")
    right = Classifier(path).contract.labels
    error = refused(relabelled(path, (right[1], right[0], *right[2:])), faces, capfd)
    assert f"with the label order {', '.join(right)} it scores" in error


def test_a_model_that_names_one_class_for_everyone_is_refused(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "constant.onnx")
    model = onnx.load(path)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.eye(7, dtype=np.float32)[3] * 1e6, "bias"))
    onnx.save(model, path)
    assert "names the class 'happy' for every face" in refused(path, faces, capfd)


def test_a_model_no_better_than_a_guess_is_refused(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with np.load(faces) as archive:
        arrays = dict(archive)
    arrays["labels"] = np.random.default_rng(0).permutation(arrays["labels"])
    np.savez(tmp_path / "strangers.npz", **arrays)  # nothing that the network has learnt holds of these
    error = refused(foreign(tmp_path / "stranger.onnx"), tmp_path / "strangers.npz", capfd)
    assert "is not clearly above" in error
    assert "No other order of labels, range of inputs or crop scores far higher" in error


def test_pixels_in_another_range_are_noticed_and_the_range_is_named(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path / "ranged.onnx", activation="Clip")
    model = onnx.load(path)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "range")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.float32(1), "range"))  # as if it had been trained on 0..255
    onnx.save(model, path)
    assert "with pixels scaled to 0..1 it scores" in refused(path, faces, capfd)
