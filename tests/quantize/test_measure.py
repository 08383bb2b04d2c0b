"""Measurements of a model: times taken in turns, predictions that must be numbers, agreement of two models."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fer_edge.classifier import Classifier
from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError

from quantize.measure import Runnable, is_correlated, mean_concordance, paired_times_ms

FACE = np.zeros((48, 48), np.uint8)


@dataclass
class Noting:
    """An engine that notes its runs in `log`, and gives `output`."""

    name: str
    log: list[str]
    output: np.ndarray = field(default_factory=lambda: np.zeros((1, 7), np.float32))

    def run(self, tensor: np.ndarray) -> list[np.ndarray]:
        self.log.append(self.name)
        return [self.output]


def test_times_are_taken_in_turns_and_each_turn_runs_once_untimed(contract: ModelContract) -> None:
    log: list[str] = []
    models = [Runnable(Path(name), Noting(name, log), contract) for name in ("float", "int8")]
    times_ms = paired_times_ms(models, FACE)
    assert times_ms.shape == (150, 2) and (times_ms >= 0).all()
    assert log == ["float", "float", "int8", "int8"] * (20 + 150), "20 rounds warm up"


def test_a_real_model_takes_time(default_model: Path) -> None:
    assert (paired_times_ms([Runnable.of(Classifier(default_model))], FACE) > 0).all()


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_refused_with_their_count(contract: ModelContract, value: float) -> None:
    output = np.zeros((3, 7), np.float32)
    output[1, 2] = value
    model = Runnable(Path("small.int8.onnx"), Noting("int8", [], output), contract)
    with pytest.raises(ModelError, match=r"small\.int8\.onnx: 1 of 3 predictions are not finite numbers"):
        model.predict(np.zeros((3, 48, 48), np.uint8))


def test_many_faces_are_predicted_in_batches_and_in_order(default_model: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (70, 48, 48), np.uint8)
    model = Runnable.of(Classifier(default_model))
    alone = np.concatenate([model.predict(face[None]) for face in faces[[0, 31, 32, 69]]])
    np.testing.assert_allclose(model.predict(faces)[[0, 31, 32, 69]], alone, atol=1e-6)


def test_two_models_agree_in_values_as_far_as_each_label_does() -> None:
    first = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    second = first.copy()
    assert mean_concordance(first, second) == pytest.approx(1)
    second[:, 1] *= -1
    assert mean_concordance(first, second) == pytest.approx(0, abs=0.02), "one label agrees, the other is opposed"


@pytest.mark.parametrize(("noise", "correlated"), [(0.5, True), (4.0, False)])
def test_predictions_follow_the_float_models_up_to_some_noise(noise: float, correlated: bool) -> None:
    generator = np.random.default_rng(0)
    float_outputs = generator.normal(size=(500, 7)).astype(np.float32)
    outputs = float_outputs + generator.normal(0, noise, (500, 7)).astype(np.float32)
    assert is_correlated(outputs, float_outputs) == correlated
