"""A network that Keras made and exported itself, as docs/own-model.md says. Skips where Keras is not installed.

Keras is no part of the workbench. To run this, install it beside: `pip install keras`, and KERAS_BACKEND=torch.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier

from boards.lab import main as lab

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    """NHWC, RGB from 0 to 255 with the scaling inside, ReLU6, a separable convolution, swish, softmax."""
    layers = keras.layers
    made = keras.Sequential(
        [
            layers.Input((64, 64, 3)),
            layers.Rescaling(1 / 255.0),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(16, 3, padding="same"),
            layers.Activation("swish"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(7, activation="softmax"),
        ]
    )
    made(np.zeros((1, 64, 64, 3), "float32"))
    return made


@pytest.mark.parametrize(("form", "suffix"), [("onnx", "onnx"), ("torch", "pt2"), ("litert", "tflite")])
def test_each_export_of_keras_computes_what_keras_does(model, form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{suffix}"
    model.export(str(path), format=form)
    labels = "angry,disgust,fear,happy,sad,surprise,neutral"
    words = ("--labels", labels, "--colour", "rgb", "--range", "0..255", "--licence", "MIT")
    assert lab(["adopt", str(path), *words, "--out", str(tmp_path / "out")]) == 0
    faces = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    truth = np.asarray(model(faces[..., ::-1].astype("float32")).detach())
    files = sorted((tmp_path / "out/mine").glob("mine.fp32.*[xe]"))
    assert {file.suffix for file in files} == ({".tflite"} if form == "litert" else {".onnx", ".tflite"})
    for file in files:
        assert Classifier(file).contract.output.meaning == "probabilities"
        np.testing.assert_allclose(Classifier(file).logits(faces), truth, rtol=1e-3, atol=1e-4)
