"""The loop: a frame in, its result out, the watchdog fed; the signals that end it, and what is watched meanwhile."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import Any

from fer_edge.board import BoardState, board_state
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline
from fer_edge.program.governor import RateGovernor
from fer_edge.program.service import Supervisor
from fer_edge.sinks.base import Sink

logger = logging.getLogger("fer_edge")

_PERIOD_S = 5.0
_UNKNOWN = BoardState(None, None, None, None)


class Loop:
    """Sends frames through `pipeline` into `sink`, at the pace `governor` sets.

    `frames` were processed before. `shield` guards the work on one frame against being broken off. `board` says how the
    board is.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sink: Sink,
        governor: RateGovernor,
        *,
        frames: int = 0,
        supervisor: Supervisor,
        board: Callable[[], BoardState],
        shield: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.pipeline, self.sink, self.governor = pipeline, sink, governor
        self._supervisor, self._board, self._shield = supervisor, board, shield
        self.frames = frames

    def run(self, source: Iterable[Frame], max_frames: int | None = None, *, continuous: bool = True) -> None:
        """Until the source ends or `max_frames` were processed in all.

        Frames that are not `continuous` are photographs: each is judged alone.
        """
        frames = iter(source)
        while max_frames is None or self.frames < max_frames:
            self.governor.wait()
            frame = next(frames, None)
            if frame is None:
                return
            with self._shield():
                self._process(frame, alone=not continuous)
            del frame  # it may be large, and the next one is made before its name is bound again

    def _process(self, frame: Frame, *, alone: bool) -> None:
        started_at_s = time.perf_counter()
        self.sink.write(frame, self.pipeline.process(frame, alone=alone))
        self.frames += 1
        self.governor.done(time.perf_counter() - started_at_s, self._board())
        self._supervisor.frame_done()


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


class ReloadRequested(BaseException):
    """SIGHUP: read the configuration again."""


class Signals:
    """While entered, SIGTERM and SIGINT raise KeyboardInterrupt and SIGHUP raises ReloadRequested in the main thread.

    Not within `shielded`: a frame in work is finished, so that no sink is left with half a result. Once asked to stop,
    or told by `finish` that all is being closed, it hears nothing more: closing is not to be broken off. SIGHUP is left
    alone unless `reloads`; unless `reload_at_once` it waits for the end of the next frame, because it would end the
    reading of a file.
    """

    def __init__(self, *, reloads: bool) -> None:
        self._numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if reloads else [])]
        self.reload_at_once = False
        self._before: dict[int, Any] = {}
        self._shielded = self._stop = self._reload = self._over = False

    def __enter__(self) -> Signals:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._hear) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def shielded(self, *, reload: bool = True) -> Iterator[None]:
        """Finish this first; what was asked meanwhile is raised at its end, unless `reload` a SIGHUP only later."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
        self._answer(reload=reload)

    def finish(self) -> None:
        """Hear nothing more."""
        self._over = True

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self._stop = True
        if not self._shielded:
            self._answer(reload=self.reload_at_once)

    def _answer(self, *, reload: bool) -> None:
        if self._stop and not self._over:
            self._over = True
            raise KeyboardInterrupt
        if self._reload and reload and not self._over:
            self._reload = False
            raise ReloadRequested
