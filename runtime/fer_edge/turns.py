"""Which faces the classifier looks at in a frame of a live source, where there is no time for all of them."""

from __future__ import annotations

from collections.abc import Sequence, Set

# Weight of the newest measurement of a face's time.
_SHARE = 0.3


class Turns:
    """Gives every face its turn: first those never looked at, then those looked at longest ago.

    `budget_s` is the time a frame has for faces, None for as long as it takes. A rate governor sets it for live
    sources; what is read from a file is always looked at whole, so that it gives the same results at any speed. Time
    that a frame leaves unused is saved up for one face that takes longer than a frame has.
    """

    def __init__(self) -> None:
        self.budget_s: float | None = None
        self._face_s = self._saved_s = 0.0
        # Tracks in the order in which they were looked at last.
        self._looked_at: dict[int, None] = {}

    def of(self, track_ids: Sequence[int], alive: Set[int]) -> list[int]:
        """The positions of the faces whose turn it is in the next frame, in their order.

        Tracks no longer `alive` are forgotten. A face that was never looked at is not kept waiting while no other is.
        """
        order = {track_id: place for place, track_id in enumerate(self._looked_at) if track_id in alive}
        waiting = sorted(range(len(track_ids)), key=lambda place: order.get(track_ids[place], -1))
        has_new = any(track_id not in order for track_id in track_ids)
        chosen = waiting[: max(self._affordable(len(track_ids)), int(has_new))]
        now = [track_ids[place] for place in chosen]
        self._looked_at = dict.fromkeys([*(track_id for track_id in order if track_id not in now), *now])
        return sorted(chosen)

    def took(self, faces: int, elapsed_s: float) -> None:
        """The classifier took `elapsed_s` for so many faces."""
        if faces == 0:
            return
        face_s = elapsed_s / faces
        self._face_s = face_s if self._face_s == 0 else self._face_s + _SHARE * (face_s - self._face_s)
        self._saved_s = 0.0

    def _affordable(self, faces: int) -> int:
        """How many of so many faces there is time for."""
        if self.budget_s is None or self._face_s == 0:
            return faces
        self._saved_s = min(self._saved_s + self.budget_s, max(self.budget_s, self._face_s))
        return min(int(self._saved_s / self._face_s + 1e-9), faces)
