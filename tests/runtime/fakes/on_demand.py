"""A camera that gives a picture when the test says so, and not before: nothing depends on how fast the machine is."""

import threading
from collections.abc import Iterable

from fer_edge.sources.live import LiveOptions, LiveSource
from fer_edge.sources.newest import Shot

from tests.runtime.fakes.media import numbered
from tests.waiting import TIMEOUT_S


class OnDemand:
    """A device of the test's own. `picture(number)` makes each picture (h, w, 3) BGR; `read_count` were read so far.

    `end` makes it give no more, `hang` makes its read wait whatever is done, until `release`.
    """

    def __init__(self, picture=lambda number: numbered(number % 25)):
        self._picture = picture
        self._changed = threading.Condition()
        self._due, self._is_waiting, self._is_ended, self._hangs, self._woken = 0, False, False, False, False
        self.read_count = 0
        self.closed = threading.Event()

    @classmethod
    def ending(cls, count: int) -> "OnDemand":
        """A device that gives so many pictures at once, and no more."""
        device = cls()
        device.allow(count)
        device.end()
        return device

    def source(self, options: LiveOptions) -> LiveSource:
        """A live source of this device alone."""
        return in_turn([self], options)

    def deliver(self, count: int = 1) -> None:
        """Have so many pictures read, one after the other; return once the reader keeps the last."""
        with self._changed:
            self._due += count
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._due == 0 and self._is_waiting, TIMEOUT_S), "nobody reads"

    def allow(self, count: int) -> None:
        """As `deliver`, for pictures read later; it waits for nothing."""
        with self._changed:
            self._due += count
            self._changed.notify_all()

    def end(self) -> None:
        """Give no picture behind those that are due."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def hang(self) -> None:
        """Let no read come back, woken or not."""
        self._hangs = True

    def wait_until_read(self) -> None:
        """Return once a reader waits for a picture."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_waiting, TIMEOUT_S), "nobody reads"

    def release(self) -> None:
        """Let a read that hangs come back without a picture."""
        with self._changed:
            self._hangs, self._is_ended = False, True
            self._changed.notify_all()

    def wake(self) -> None:
        """Interrupt the read, as a driver may: it comes back without a picture."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def read(self) -> Shot | None:
        """The next picture once it is due."""
        with self._changed:
            self._is_waiting = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._hangs and (self._due > 0 or self._is_ended or self._woken))
            self._is_waiting = False
            if self._due == 0 or self._woken:
                return None
            self._due -= 1
            self.read_count += 1
            return Shot(self._picture(self.read_count - 1))

    def close(self) -> None:
        """Note that it was closed."""
        self.closed.set()


def in_turn(devices: Iterable[OnDemand | Exception], options: LiveOptions, kind=LiveSource) -> LiveSource:
    """A live source that opens one device after the other; an exception is raised in place of a device.

    It can interrupt the one it reads, so nothing waits for a thread that has nothing to read.
    """
    waiting, opened = iter(devices), []

    def open_next() -> OnDemand:
        device = next(waiting)
        if isinstance(device, Exception):
            raise device
        opened.append(device)
        return device

    return kind("camera", open_next, options, lambda: opened and opened[-1].wake())
