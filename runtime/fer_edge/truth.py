"""Ground truth of each task for a face of FER2013: from its label, or from the votes FER+ adds.

Beyond the seven classes nobody annotated these faces. What is derived here stands in for annotation and is named so
wherever a figure is given.
"""

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import DataError
from fer_edge.tasks import CIRCUMPLEX, FER_PLUS

POLARITIES = ("negative", "positive")
# The share of "positive" in each of FER2013's seven classes. Oh and Kim (2024) group four elicited emotions into two;
# which of FER2013's seven go where is this project's choice, and two are neither.
POSITIVE_SHARE = {"angry": 0.0, "disgust": 0.0, "fear": 0.0, "happy": 1.0, "sad": 0.0, "surprise": 0.5, "neutral": 0.5}
LABELS_OF = {
    "expression8": FER_PLUS,
    "positive-negative": POLARITIES,
    "valence-arousal": ("valence", "arousal"),
    "smile-intensity": ("smile",),
}
NOBODY = -1

Votes = NDArray[np.integer]


def truth_of(
    task: str, labels: NDArray[np.integer], label_names: tuple[str, ...], votes: Votes | None
) -> NDArray[np.int64] | NDArray[np.float32]:
    """The truth of `task` for every face, from `labels` (n,) into `label_names` and FER+ `votes` (n, 10) or None.

    Classes as (n,) int64, NOBODY where the face has none; values as (n, k) float32, NaN where the face has none. Raises
    DataError where the task needs votes and there are none.
    """
    if task == "expression7":
        return labels.astype(np.int64)
    if task == "positive-negative":
        return polarity(labels, label_names)
    if task not in ("expression8", "valence-arousal", "smile-intensity"):
        raise DataError(f"FER2013 says nothing of the task {task}; it needs a dataset annotated for it.")
    if votes is None:
        raise DataError(f"the task {task} needs the FER+ votes. Give FERPLUS=fer2013new.csv to `make data`.")
    if task == "expression8":
        return majority(votes)
    return valence_arousal(votes) if task == "valence-arousal" else smile_intensity(votes)


def polarity(labels: NDArray[np.integer], label_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Index into POLARITIES of every face, (n,); NOBODY for the classes that are neither."""
    shares = np.array([POSITIVE_SHARE.get(name, 0.5) for name in label_names])[labels]
    return np.where(shares == 0.5, NOBODY, shares.astype(np.int64)).astype(np.int64)


def majority(votes: Votes) -> NDArray[np.int64]:
    """Index into FER_PLUS of every face, (n,), by the majority protocol of Barsoum et al. (2016).

    A single vote is an outlier; a class counts when more than half of the other votes agree on it. NOBODY where none
    does, or where most saw no face or could not tell.
    """
    counted = np.where(votes > 1, votes, 0)
    best = counted.argmax(axis=1)
    agreed = counted.max(axis=1) * 2 > counted.sum(axis=1)
    return np.where(agreed & (best < len(FER_PLUS)), best, NOBODY).astype(np.int64)


def shares(votes: Votes) -> NDArray[np.float32]:
    """Share of each of FER_PLUS among the votes for any of them, (n, 8); NaN for a face nobody gave one."""
    counts = votes[:, : len(FER_PLUS)].astype(np.float32)
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), np.nan).astype(np.float32)


def valence_arousal(votes: Votes) -> NDArray[np.float32]:
    """Mean place of a face's votes on the circumplex, (n, 2) in [-1, 1]; NaN for a face nobody gave a class."""
    places = np.array([CIRCUMPLEX[name] for name in FER_PLUS], dtype=np.float32)
    return np.asarray(shares(votes) @ places, dtype=np.float32)


def smile_intensity(votes: Votes) -> NDArray[np.float32]:
    """Share of a face's votes that went to happiness, (n, 1) in [0, 1]; NaN for a face nobody gave a class."""
    return shares(votes)[:, FER_PLUS.index("happiness")][:, None]
