"""INT8 .tflite files in tflite-runtime: `make test-tflite-runtime` makes the environment that has it.

Python 3.11 with numpy 1, apart from all else: tflite-runtime 2.14 is the last one and knows no numpy 2.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier

FOLDER = os.environ.get("TFLITE_MODELS", "")
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tflite_runtime") is None or not FOLDER,
    reason="tflite-runtime is absent; `make test-tflite-runtime` brings it and names the models",
)
KINDS = {"int8": "int8", "int8-float": "float32", "int8-full-integer": "int8"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_input_and_output_runs_and_agrees_with_the_float_golden_outputs(kind: str) -> None:
    folder = Path(FOLDER)
    model = Classifier(folder / f"{folder.resolve().name}.{kind}.tflite")
    assert model.engine.name == "tflite-runtime"
    assert model.contract.input.dtype == KINDS[kind]
    with np.load(folder / "golden.npz") as golden:
        inputs, expected = golden["inputs"], golden["logits"]
    logits = model.logits(inputs)
    # The golden inputs are synthetic and full of near ties: the same floor as the gate's.
    assert (logits.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.8
    assert np.abs(logits - expected).mean() < 0.25 * np.abs(expected).mean()
