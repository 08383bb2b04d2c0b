"""A thread that reads a device and keeps only its newest picture.

OpenCV's and the drivers' own queues cannot be relied on to be short, so the device is read as fast as it delivers, and
whoever asks gets the newest picture.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceAbsentError, SourceError

# How often whoever waits for a picture is told so.
TELL_S = 1.0
# A driver that hangs inside a read cannot be interrupted. Its thread is waited for this long, then left behind: the
# whole program has to end within two seconds.
_JOIN_S = 1.0


class EndOfStreamError(SourceError):
    """A device that has an end, such as a video file behind http://, came to it."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture (h, w, 3) uint8 BGR, and the same one smaller where the device gives both."""

    image_bgr: NDArray[np.uint8]
    small_bgr: NDArray[np.uint8] | None = None


class Device(Protocol):
    """An open camera or stream. Only the thread that opened it touches it."""

    def read(self) -> Shot | None:
        """Wait for the next picture; None when none comes.

        Raises EndOfStreamError where that is how it should be, so that nothing is opened again.
        """
        ...

    def close(self) -> None:
        """Free the device."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of the reader thread. `read_at_s` is on the clock of time.monotonic()."""

    shot: Shot
    index: int
    read_at_s: float
    unix_time_s: float


class NewestReader:
    """A thread that opens a device, reads it and keeps only its newest picture. Starts at once.

    Pictures are numbered from `first_index` in the order they were read, taken or not. `interrupt` makes the thread
    come back from opening or reading, where that is possible.
    """

    def __init__(
        self,
        name: str,
        open_device: Callable[[], Device],
        first_index: int = 0,
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._open_device, self._interrupt = open_device, interrupt
        self.next_index = first_index
        self._changed = threading.Condition()
        self._newest: Picture | None = None
        self._end: SourceError | None = None
        self._stop = threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"read {name}", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float, waiting: Callable[[], None] = lambda: None) -> Picture:
        """The newest picture that nobody took yet; `waiting` is called until it comes.

        Raises SourceError after `timeout_s` or when the device ended.
        """
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while self._newest is None and self._end is None and (left_s := end_s - time.monotonic()) > 0:
                waiting()
                self._changed.wait(min(left_s, TELL_S))
            if self._newest is not None:
                return self._newest
            raise self._end or SourceAbsentError(f"{self._name}: no frame for {timeout_s:g} s.")

    def take(self, timeout_s: float, waiting: Callable[[], None] = lambda: None) -> Picture:
        """Like `wait`, and the picture counts as taken."""
        picture = self.wait(timeout_s, waiting)
        with self._changed:
            # A newer one may have come in between; it is not lost, the next call gives it.
            if self._newest is picture:
                self._newest = None
        return picture

    def close(self) -> bool:
        """Stop the thread and join it; whoever waits for a picture waits no longer. False where the thread hangs."""
        if self._is_closed:
            return True
        self._is_closed = True
        self._stop.set()
        self._finish(self._end or SourceError(f"{self._name}: closed."))
        self._interrupt()
        self._thread.join(_JOIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            device = self._open_device()
            try:
                self._read(device)
            finally:
                device.close()
        except SourceError as error:
            self._finish(error)
        except Exception as error:  # whatever a driver raises ends this reading, not the program
            self._finish(SourceError(f"{self._name}: {type(error).__name__}: {' '.join(str(error).split())}"))

    def _read(self, device: Device) -> None:
        while not self._stop.is_set():
            shot = device.read()
            if shot is None:
                self._finish(SourceAbsentError(f"{self._name}: no more frames come."))
                return
            with self._changed:
                self._newest = Picture(shot, self.next_index, time.monotonic(), time.time())
                self.next_index += 1
                self._changed.notify_all()

    def _finish(self, error: SourceError) -> None:
        with self._changed:
            self._end = error
            self._changed.notify_all()
