"""Smooth each track's probabilities over time, so that a label does not flicker between two close calls."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_SMOOTHING = 0.35
DEFAULT_HYSTERESIS = 0.1


@dataclass
class _TrackState:
    """State of one track: its average, and the label it shows."""

    average: NDArray[np.float32]
    label: int


class HysteresisSmoother:
    """Exponential moving average by track, and labels that stay until another is clearly more likely.

    `alpha` is the weight of the newest frame: 1 switches averaging off. A label changes when another's average is
    greater by `hysteresis`: 0 names the greatest at once.
    """

    def __init__(self, alpha: float = DEFAULT_SMOOTHING, hysteresis: float = DEFAULT_HYSTERESIS) -> None:
        self._alpha, self._hysteresis = alpha, hysteresis
        self._states: dict[int, _TrackState] = {}

    def update(
        self, track_ids: list[int], probabilities: NDArray[np.float32], alive: Set[int]
    ) -> tuple[NDArray[np.float32], list[int]]:
        """Averages (n, labels) of the faces (n, labels) of one frame, and each face's label as its index.

        Tracks no longer `alive` are forgotten.
        """
        import numpy as np  # the settings take the defaults above, and start without numpy

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
            return _TrackState(row, int(row.argmax()))
        average = before.average + self._alpha * (row - before.average)
        best = int(average.argmax())
        stays = average[best] - average[before.label] < self._hysteresis
        return _TrackState(average, before.label if stays else best)
