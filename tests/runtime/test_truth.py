"""Ground truth of a face of FER2013, task by task, worked out by hand."""

import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.tasks import FER_PLUS
from fer_edge.truth import majority, polarity, shares, smile_intensity, truth_of, valence_arousal

SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def votes(**counts: int) -> np.ndarray:
    names = (*FER_PLUS, "unknown", "NF")
    return np.array([[counts.get(name, 0) for name in names]])


def test_half_happiness_half_sadness_lies_between_them() -> None:
    (place,) = valence_arousal(votes(happiness=5, sadness=5))
    np.testing.assert_allclose(place, [(0.8 - 0.65) / 2, (0.5 - 0.3) / 2], atol=1e-6)


def test_votes_for_no_class_do_not_count() -> None:
    np.testing.assert_allclose(shares(votes(happiness=3, neutral=1, unknown=6))[0, :2], [0.25, 0.75])
    np.testing.assert_allclose(smile_intensity(votes(happiness=3, neutral=1, NF=6)), [[0.75]])


def test_a_face_nobody_gave_a_class_has_no_values() -> None:
    assert np.isnan(valence_arousal(votes(NF=10))).all()
    assert np.isnan(smile_intensity(votes(unknown=10))).all()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"happiness": 6, "neutral": 4}, "happiness"),
        ({"happiness": 5, "neutral": 5}, None),
        ({"anger": 5, "sadness": 1, "fear": 1, "disgust": 1, "neutral": 2}, "anger"),
        ({"anger": 4, "sadness": 3, "neutral": 3}, None),
        ({"unknown": 8, "fear": 2}, None),
        ({"NF": 10}, None),
    ],
)
def test_the_majority_protocol(counts: dict[str, int], expected: str | None) -> None:
    assert majority(votes(**counts))[0] == (-1 if expected is None else FER_PLUS.index(expected))


def test_surprise_and_neutral_are_neither_positive_nor_negative() -> None:
    assert polarity(np.arange(7), SEVEN).tolist() == [0, 0, 0, 1, 0, -1, -1]


def test_a_task_fer2013_cannot_answer_is_one_error() -> None:
    with pytest.raises(DataError, match="says nothing of the task action-units"):
        truth_of("action-units", np.zeros(1, int), SEVEN, None)
    with pytest.raises(DataError, match="needs the FER\\+ votes"):
        truth_of("valence-arousal", np.zeros(1, int), SEVEN, None)
