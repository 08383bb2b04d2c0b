"""Smooth each track's probabilities over time, so that a label does not flicker between two close calls."""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class _TrackState:
    """State of one track: its average, and the label it shows."""

    average: NDArray[np.float32]
    label: int


class HysteresisSmoother:
    """Exponential moving average by track, and labels that stay until another is clearly more likely.

    `share` is the weight of the newest frame: 1 switches averaging off. A label changes when another's average is
    greater by `hysteresis`: 0 names the greatest at once.
    """

    def __init__(self, share: float = 0.35, hysteresis: float = 0.1) -> None:
        self._share, self._hysteresis = share, hysteresis
        self._states: dict[int, _TrackState] = {}

    def update(
        self, track_ids: list[int], probabilities: NDArray[np.float32], alive: Set[int]
    ) -> tuple[NDArray[np.float32], list[int]]:
        """Averages (n, labels) of the faces (n, labels) of one frame, and each face's label as its index.

        Tracks no longer `alive` are forgotten.
        """
        self._states = {track_id: state for track_id, state in self._states.items() if track_id in alive}
        for track_id, row in zip(track_ids, probabilities, strict=True):
            self._states[track_id] = self._next(self._states.get(track_id), row)
        states = [self._states[track_id] for track_id in track_ids]
        averages = np.stack([state.average for state in states]) if states else probabilities
        return averages, [state.label for state in states]

    def recall(self, track_id: int) -> tuple[NDArray[np.float32], int] | None:
        """Average (labels,) and label of a face as they were last, None for one that is not known."""
        state = self._states.get(track_id)
        return None if state is None else (state.average, state.label)

    def _next(self, before: _TrackState | None, row: NDArray[np.float32]) -> _TrackState:
        if before is None:
            return _TrackState(row, int(np.argmax(row)))
        average = before.average + self._share * (row - before.average)
        best = int(np.argmax(average))
        stays = average[best] - average[before.label] < self._hysteresis
        return _TrackState(average, before.label if stays else best)
