"""Smooth each track's probabilities over time, so that a label does not flicker between two close calls."""

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray


class ExponentialSmoother:
    """Exponential moving average by track. `share` is the weight of the newest frame: 1 switches smoothing off."""

    def __init__(self, share: float = 0.35) -> None:
        self._share = share
        self._averages: dict[int, NDArray[np.float32]] = {}

    def update(self, track_ids: list[int], probabilities: NDArray[np.float32], alive: Set[int]) -> NDArray[np.float32]:
        """Averages (n, labels) of the faces (n, labels) of one frame; tracks no longer `alive` are forgotten."""
        self._averages = {track_id: value for track_id, value in self._averages.items() if track_id in alive}
        for track_id, row in zip(track_ids, probabilities, strict=True):
            before = self._averages.get(track_id, row)
            self._averages[track_id] = before + self._share * (row - before)
        rows = [self._averages[track_id] for track_id in track_ids]
        return np.stack(rows) if rows else probabilities
