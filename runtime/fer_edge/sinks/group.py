"""Several sinks as one, each failing alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

from fer_edge.frames import Frame, FrameResult
from fer_edge.sinks.base import Sink

logger = logging.getLogger("fer_edge")


class SinkSet:
    """Writes to all its sinks. One that raises is closed, told of once in the log, and left out from then on."""

    name = "sinks"

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = list(sinks)
        self._failed: list[str] = []

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the sinks that failed, in the order they did."""
        return tuple(self._failed)

    def __enter__(self) -> SinkSet:
        """Open all, or none: where one cannot be opened, those before it are closed and its UsageError goes on."""
        with ExitStack() as opened:
            for sink in self._sinks:
                opened.enter_context(sink)
            opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all. A sink that fails to close is logged and counts as failed."""
        while self._sinks:
            self._close(self._sinks.pop(0), error)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Write to every sink that still works. Raises nothing."""
        for sink in list(self._sinks):
            try:
                sink.write(frame, result)
            except Exception as error:  # whatever it is, the loop must go on
                self._sinks.remove(sink)
                self._fail(sink, error)
                self._close(sink, error)

    def _close(self, sink: Sink, why: BaseException | None) -> None:
        try:
            sink.__exit__(type(why) if why else None, why, why.__traceback__ if why else None)
        except Exception as error:
            self._fail(sink, error)

    def _fail(self, sink: Sink, error: Exception) -> None:
        # One that failed to write often fails to close as well; once is enough.
        if sink.name not in self._failed:
            self._failed.append(sink.name)
            reason = " ".join(str(error).split()) or type(error).__name__
            logger.warning("%s failed and gets no more results: %s", sink.name, reason)
