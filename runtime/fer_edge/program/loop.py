"""The loop: a frame in, its result out, and the watchdog fed."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from fer_edge.board import BoardState
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline
from fer_edge.program.governor import RateGovernor
from fer_edge.program.service import Supervisor
from fer_edge.sinks.base import Sink


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
