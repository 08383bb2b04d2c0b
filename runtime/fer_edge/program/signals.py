"""SIGTERM, SIGINT and SIGHUP, heard at once while the loop waits and after the frame while it works."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


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
