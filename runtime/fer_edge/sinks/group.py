"""Several sinks as one, each failing alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType

from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.sinks.base import ListeningSink, Sink
from fer_edge.troubles import Troubles

logger = logging.getLogger("fer_edge")

# A sink that failed is left alone for this long, twice as long each time: a full disk may be emptied.
_FIRST_REST_S = 1.0
_LONGEST_REST_S = 60.0
# One that worked for so long is well again.
_WELL_S = 60.0


class _Member:
    """A sink, and when it may be written to again after it failed."""

    def __init__(self, sink: Sink, key: Hashable, clock_s: Callable[[], float]) -> None:
        self.sink, self.key = sink, key
        self._troubles = Troubles(clock_s)
        self._well_since_s: float | None = None
        self._is_open = False
        self._unwritten = 0
        self._lost_now = 0
        self._rest_s = 0.0
        self._again_at_s = float("-inf")

    @property
    def lost(self) -> int:
        """Results not handed to it, and those it could not deliver: a sink that sends later counts these itself."""
        return self._unwritten + int(getattr(self.sink, "lost", 0))

    def open(self) -> None:
        """Raises UsageError."""
        self.sink.__enter__()
        self._is_open = True

    def write(self, frame: Frame, result: FrameResult, now_s: float) -> None:
        if now_s < self._again_at_s:
            self._lose()
            return
        try:
            if not self._is_open:
                self.open()
            self.sink.write(frame, result)
        except Exception as error:  # whatever it is, the loop must go on
            self.rest_after(error, now_s, told=False)
            self._lose()
            return
        if self._rest_s:
            self._note_success(now_s)

    def close(self, why: BaseException | None) -> None:
        if not self._is_open:
            return
        try:
            self.sink.__exit__(type(why) if why else None, why, why.__traceback__ if why else None)
        except Exception as error:
            # One that failed to write often fails to close as well; once is enough.
            if not self._lost_now:
                logger.warning("%s failed to close: %s", self.sink.name, _reason(error))
            self._unwritten += 1

    def _note_success(self, now_s: float) -> None:
        """One that takes a result now and then is not well yet."""
        if self._lost_now:
            self._troubles.relieve(f"{self.sink.name} works again; {self._lost_now} results were lost.")
            self._lost_now = 0
        if self._well_since_s is None:
            self._well_since_s = now_s
        elif now_s - self._well_since_s >= _WELL_S:
            self._rest_s = 0.0
            self._troubles.over()

    def rest_after(self, error: Exception, now_s: float, *, told: bool) -> None:
        """Leave it alone for a while, longer each time. `told`: somebody else logs the error."""
        message = f"{self.sink.name} failed; it is tried again from time to time: {_reason(error)}"
        self._troubles.tell(message, told=told)
        self._well_since_s = None
        self._rest_s = min(max(2 * self._rest_s, _FIRST_REST_S), _LONGEST_REST_S)
        self._again_at_s = now_s + self._rest_s

    def _lose(self) -> None:
        self._unwritten += 1
        self._lost_now += 1


class SinkSet:
    """Writes to all its sinks. One that raises is told of once in the log and tried again, ever less often.

    `clock_s` is a monotonic clock in seconds.
    """

    name = "sinks"

    def __init__(self, sinks: Iterable[Sink] = (), *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._members = [_Member(sink, sink.name, clock_s) for sink in sinks]
        self._clock_s = clock_s
        self._failed: dict[str, int] = {}

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the sinks that lost results, or failed to close."""
        return tuple(name for name, lost in self.lost.items() if lost)

    @property
    def lost(self) -> dict[str, int]:
        """Results lost by each sink, and by those before it that had its name."""
        found = dict(self._failed)
        for member in self._members:
            found[member.sink.name] = found.get(member.sink.name, 0) + member.lost
        return found

    def __enter__(self) -> SinkSet:
        """Open all, or none: where one cannot be opened, those before it are closed and its UsageError goes on."""
        with ExitStack() as opened:
            for member in self._members:
                member.open()
                opened.push(lambda kind, error, trace, member=member: member.close(error))
            opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all. A sink that fails to close is logged and counts as failed."""
        while self._members:
            self._part_with(self._members.pop(0), error)

    def _part_with(self, member: _Member, why: BaseException | None) -> None:
        member.close(why)
        self._failed[member.sink.name] = self._failed.get(member.sink.name, 0) + member.lost

    def check(self, makers: Mapping[Hashable, Callable[[], Sink]]) -> None:
        """Raise UsageError where `exchange` would find one that cannot be made, or not listen; changes nothing."""
        own = {member.key for member in self._members}
        going = [member.sink for member in self._members if member.key not in makers]
        freed = {sink.port for sink in going if isinstance(sink, ListeningSink)}
        for key, make in makers.items():
            sink = make() if key not in own else None
            if isinstance(sink, ListeningSink) and sink.port not in freed:
                sink.try_port()

    def exchange(self, makers: Mapping[Hashable, Callable[[], Sink]]) -> None:
        """Have the sinks of `makers`, by key: keep those there are, close those not named, make and open the others.

        Raises UsageError before anything is changed where one cannot be made, and at the end where one cannot be
        opened; that one is tried again from time to time.
        """
        made = [
            _Member(make(), key, self._clock_s)
            for key, make in makers.items()
            if key not in {one.key for one in self._members}
        ]
        for member in [one for one in self._members if one.key not in makers]:
            self._members.remove(member)
            self._part_with(member, None)
        refused: UsageError | None = None
        for member in made:
            try:
                member.open()
            except UsageError as error:
                refused = refused or error
                member.rest_after(error, self._clock_s(), told=True)
            self._members.append(member)
        if refused is not None:
            raise refused

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Write to every sink that works. Raises nothing."""
        now_s = self._clock_s()
        for member in self._members:
            member.write(frame, result, now_s)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
