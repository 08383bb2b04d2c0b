"""The interface of every sink."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, runtime_checkable

from fer_edge.frames import Frame, FrameResult


class Sink(Protocol):
    """Takes results. Enter it, write to it, leave it.

    Entering raises UsageError where the output cannot be written. `write` may raise anything; whoever owns the loop
    uses a SinkSet, which survives that.
    """

    @property
    def name(self) -> str:
        """Name in logs."""
        ...

    def __enter__(self) -> Sink:
        """Open the output. Raises UsageError."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the output; the exception, if any, is why the loop ended."""
        ...

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Take one frame and what was found in it."""
        ...


@runtime_checkable
class ListeningSink(Protocol):
    """A sink that others connect to."""

    @property
    def port(self) -> int:
        """Where it listens, or will."""
        ...

    def try_port(self) -> None:
        """Raise UsageError where it could not listen now; keeps nothing open."""
        ...
