"""A thread that looks at the board's health now and then, so that no frame has to wait for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from fer_edge.board import BoardState, board_state

logger = logging.getLogger("fer_edge")

_PERIOD_S = 5.0
_UNKNOWN = BoardState(None, None, None, None)


class BoardMonitor:
    """Keeps the newest BoardState. Enter it to start its thread; leaving joins it.

    Where looking fails, all of it is unknown until it succeeds again.
    """

    def __init__(self, look: Callable[[], BoardState] = board_state, period_s: float = _PERIOD_S) -> None:
        self._look, self._period_s = look, period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.state = self._look_once(told=False)

    def __enter__(self) -> BoardMonitor:
        """Start looking."""
        self._thread = threading.Thread(target=self._run, name="board monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and join the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self.state = self._look_once(told=self.state is _UNKNOWN)

    def _look_once(self, *, told: bool) -> BoardState:
        try:
            return self._look()
        except Exception as error:  # whatever it is, the thread must go on
            if not told:
                logger.warning("cannot read the state of the board: %s", error)
            return _UNKNOWN
