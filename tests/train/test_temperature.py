"""Temperature scaling against what it should find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.metrics import expected_calibration_error, softmax

from train.fit.publish import fit_temperature, negative_log_likelihood


def drawn(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their very softmax: calibrated at temperature 1."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, 7))
    labels = np.array([generator.choice(7, p=row) for row in softmax(logits)])
    return logits, labels


@settings(max_examples=8, deadline=None)
@given(st.floats(0.5, 3.0), st.integers(0, 100))
def test_finds_the_factor_logits_were_multiplied_by(factor: float, seed: int) -> None:
    logits, labels = drawn(seed)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


def test_confidences_mean_what_they_say_afterwards() -> None:
    logits, labels = drawn(1)
    sure = 2.5 * logits
    temperature = fit_temperature(sure, labels)
    before, after = (expected_calibration_error(labels, softmax(z)) for z in (sure, sure / temperature))
    assert after < 0.03 < before


def test_likelihood_by_hand() -> None:
    assert negative_log_likelihood(np.log([[0.75, 0.25]]), np.array([1])) == pytest.approx(np.log(4))
