"""Temperature scaling (Guo et al., 2017): one number that makes confidences mean what they say."""

import numpy as np
from numpy.typing import NDArray

from fer_edge.metrics import softmax

_LOWEST, _HIGHEST = 0.25, 4.0
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature in 0.25..4 of least negative log likelihood: logits (n, classes), labels (n,).

    Golden-section search; the likelihood of a scaled softmax has one minimum in the logarithm of the temperature.
    """
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if negative_log_likelihood(logits / np.exp(first), labels) < negative_log_likelihood(
            logits / np.exp(second), labels
        ):
            high = second
        else:
            low = first
    return round(float(np.exp((low + high) / 2)), 4)


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over the faces, in nats."""
    chosen = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())
