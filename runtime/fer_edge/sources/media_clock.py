"""The time of each frame of a file, out of what its container says, which is not always sensible."""

import math

# Recordings of a DVR or a TV are often put together from several, each with a clock of its own. FFMPEG's own limit.
_LONGEST_GAP_JOINED_S = 10.0
# Elsewhere a pause is one: a time lapse, a screen that did not change, a camera that films what moves.
_LONGEST_GAP_S = 3600.0
# Frames that are shown in another order than they are stored may be told a little backwards.
_SMALL_STEP_BACK_S = 1.0


class MediaClock:
    """Turns positions into times that only grow, from 0. `period_s` is what lies between two frames of unknown time.

    A jump of the container's clock, forwards beyond all sense or backwards, is bridged by one period; `jumps` counts
    them, and `last_jump_s` is how far the last one went. `joined` is true for containers that are often put together
    from several recordings.
    """

    def __init__(self, period_s: float, *, joined: bool = False) -> None:
        self._period_s = period_s
        self._longest_gap_s = _LONGEST_GAP_JOINED_S if joined else _LONGEST_GAP_S
        self._offset_s: float | None = None
        self.time_s = 0.0
        self.jumps = 0
        self.last_jump_s = 0.0

    def advance(self, position_s: float) -> float:
        """The time of the next frame, at `position_s` by the container's clock; also kept in `time_s`."""
        known = math.isfinite(position_s)
        if self._offset_s is None:
            self._offset_s = -position_s if known else 0.0
            return self.time_s
        step_s = position_s + self._offset_s - self.time_s if known else 0.0
        next_s = self.time_s + self._period_s
        if step_s > self._longest_gap_s or step_s < -_SMALL_STEP_BACK_S:
            # Some decoders give the last frames without a time, as 0; that is not a jump worth a word.
            if position_s != 0:
                self.jumps, self.last_jump_s = self.jumps + 1, step_s
                self._offset_s = next_s - position_s
        elif step_s > 0:
            next_s = self.time_s + step_s
        self.time_s = next_s
        return self.time_s
