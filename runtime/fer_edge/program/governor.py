"""Holding a frame rate: less work where the board is too slow, fewer frames where it is too hot."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.board import BoardState
from fer_edge.pipeline import Pipeline
from fer_edge.troubles import Troubles


@dataclass(frozen=True)
class Effort:
    """How hard the detector works: it looks at each `stretch`-th frame it would look at, reading each n-th pixel."""

    stretch: int
    pixel_step: int


# From the best to the cheapest. Looking less often saves most, so that comes first.
EFFORTS = (Effort(1, 1), Effort(2, 1), Effort(3, 1), Effort(3, 2), Effort(5, 2), Effort(8, 2), Effort(12, 3))
# The share of a frame's time that may be spent on it before less is done, and below which more is tried.
_TOO_BUSY, _IDLE = 0.9, 0.45
_WINDOW_S = 1.0
_MIN_FRAMES = 5
_CATCH_UP_S = 1.0
# What the classifier may take of a frame's time, and how long where there is no rate to hold: a model that takes longer
# for all faces looks at them in turn.
_CLASSIFY_SHARE, _CLASSIFY_S = 0.5, 0.5
# After a try that was too much, wait this many windows before the next.
_PATIENCE_WINDOWS = 20
# A board that throttles is given half the work until it has been well for this long.
_HOT_SHARE = 0.5
_COOL_S = 30.0


class RateGovernor:
    """Paces the loop and sets the pipeline's effort. Call `wait` before a frame is taken and `done` behind it.

    Without `target_fps` frames are taken as they come, until the board throttles. `paced` says that frames beyond the
    rate may be left out, as those of a camera may. `clock_s` and `sleep` are time.monotonic and time.sleep.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        target_fps: float | None,
        *,
        paced: bool,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pipeline, self._target_fps, self._paced = pipeline, target_fps, paced
        self._clock_s, self._sleep = clock_s, sleep
        self.fps = 0.0
        # The pipeline may come from another governor, which had it work less.
        self._set(0, raised=False)
        pipeline.turns.budget_s = None
        self._limit_fps: float | None = None
        self._cool_since_s: float | None = None
        self._troubles = Troubles(clock_s)
        self._next_at_s = float("-inf")
        self._patience = 0
        self._begin_window()

    @property
    def rate_fps(self) -> float | None:
        """The rate to hold now; None for as fast as frames come."""
        rates = [rate for rate in (self._target_fps, self._limit_fps) if rate is not None]
        return min(rates) if rates else None

    def wait(self) -> None:
        """Sleep until the next frame is due. What came in meanwhile is dropped by a live source."""
        rate = self.rate_fps
        if not self._paced:
            return
        self._pipeline.turns.budget_s = _CLASSIFY_S if rate is None else _CLASSIFY_SHARE / rate
        if rate is None:
            return
        now_s = self._clock_s()
        if self._next_at_s > now_s:
            self._sleep(self._next_at_s - now_s)
        # The grid goes on from where it was, so that a frame with a detection is made up for by those without; but
        # not a camera that was away.
        begin_s = now_s if now_s - self._next_at_s > _CATCH_UP_S else self._next_at_s
        self._next_at_s = begin_s + 1 / rate

    def done(self, busy_s: float, state: BoardState) -> None:
        """A frame took `busy_s` of work; `state` is how the board is."""
        self._busy_s += busy_s
        self._frames += 1
        self._heed(state)
        length_s = self._clock_s() - self._started_at_s
        if length_s >= _WINDOW_S and self._frames >= _MIN_FRAMES:
            self.fps = self._frames / length_s
            self._adapt()
            self._begin_window()

    def _begin_window(self) -> None:
        self._started_at_s, self._busy_s, self._frames = self._clock_s(), 0.0, 0

    def _adapt(self) -> None:
        rate = self.rate_fps
        if rate is None:
            return
        load = self._busy_s / self._frames * rate
        self._patience = max(self._patience - 1, 0)
        if load > _TOO_BUSY and self.level + 1 < len(EFFORTS):
            # The last try at more was too much: do not try again soon.
            self._patience = _PATIENCE_WINDOWS if self._raised else self._patience
            self._set(self.level + 1, raised=False)
        elif load < _IDLE and self.level > 0 and self._patience == 0:
            self._set(self.level - 1, raised=True)

    def _set(self, level: int, *, raised: bool) -> None:
        self.level: int = level
        self._raised: bool = raised
        effort = EFFORTS[level]
        finder = self._pipeline.finder
        finder.schedule.stretch, finder.pixel_step = effort.stretch, effort.pixel_step
        if finder.looks is not None:
            finder.looks.is_pressed = level > 0

    def _heed(self, state: BoardState) -> None:
        """Lower the rate of a board that throttles, and give it back once it has cooled; both are said."""
        if not state.throttled:
            self._recover()
            return
        self._cool_since_s = None
        if self._limit_fps is None and self._paced and (self._target_fps or self.fps):
            before = self._target_fps or self.fps
            self._limit_fps = before * _HOT_SHARE
            heat = "" if state.temp_c is None else f" at {state.temp_c:.0f} C"
            self._troubles.tell(f"the board throttles{heat}: from {before:.1f} to {self._limit_fps:.1f} frames/s.")

    def _recover(self) -> None:
        if self._limit_fps is None:
            return
        now_s = self._clock_s()
        if self._cool_since_s is None:
            self._cool_since_s = now_s
        elif now_s - self._cool_since_s >= _COOL_S:
            self._limit_fps = self._cool_since_s = None
            self._troubles.relieve("the board throttles no more: the full rate again.")
            self._troubles.over()
