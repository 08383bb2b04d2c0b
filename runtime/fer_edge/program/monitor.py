"""A thread that looks at the board's health now and then, so that no frame has to wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from fer_edge.board import BoardState, board_state

_PERIOD_S = 5.0


class BoardMonitor:
    """Keeps the newest BoardState. Enter it to start its thread; leaving joins it."""

    def __init__(self, look: Callable[[], BoardState] = board_state, period_s: float = _PERIOD_S) -> None:
        self._look, self._period_s = look, period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.state = look()

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
            self.state = self._look()
