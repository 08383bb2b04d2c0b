"""Live sources: a thread that keeps only the newest picture, and reopening when pictures stop coming.

OpenCV's and the drivers' own queues cannot be relied on to be short, so the device is read as fast as it delivers, and
whoever asks gets the newest picture. A device that falls silent is closed and opened again, each try later than the
one before, until it comes back or the tries are used up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame

logger = logging.getLogger("fer_edge")

# A driver that hangs inside a read cannot be interrupted. Its thread is waited for this long, then left behind: the
# whole program has to end within two seconds.
_JOIN_S = 1.0
# How often `waiting` is called.
_TELL_S = 1.0


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


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """What to ask of a camera, and how long to wait for a camera or stream before reopening it or giving up.

    `tries` reopenings in a row may fail before the source is lost for good; the wait before a try starts at `backoff_s`
    and doubles up to `backoff_max_s`. A stream has its own size; `width_px` and `height_px` are for cameras, and
    `buffer_count` is for picamera2: its own default of 6 takes too much CMA memory on a board of 512 MB. `waiting` is
    called again and again while no frame comes, by the thread that waits for one.
    """

    width_px: int = 640
    height_px: int = 480
    buffer_count: int = 2
    first_frame_s: float = 10.0
    silence_s: float = 20.0
    tries: int = 10
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0
    waiting: Callable[[], None] = lambda: None


@dataclass(frozen=True, eq=False)
class Picture:
    """What the reader thread read. `read_at_s` is on the clock of time.monotonic()."""

    shot: Shot
    index: int
    read_at_s: float
    unix_time_s: float


class NewestReader:
    """A thread that opens a device, reads it and keeps only its newest picture. Starts at once.

    Pictures are numbered from `first_index` in the order they were read, taken or not.
    """

    def __init__(self, name: str, open_device: Callable[[], Device], first_index: int = 0) -> None:
        self._name = name
        self._open_device = open_device
        self.next_index = first_index
        self._changed = threading.Condition()
        self._newest: Picture | None = None
        self._end: SourceError | None = None
        self._stop = threading.Event()
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
                self._changed.wait(min(left_s, _TELL_S))
            if self._newest is not None:
                return self._newest
            raise self._end or SourceError(f"{self._name}: no frame for {timeout_s:g} s.")

    def take(self, timeout_s: float, waiting: Callable[[], None] = lambda: None) -> Picture:
        """Like `wait`, and the picture counts as taken."""
        picture = self.wait(timeout_s, waiting)
        with self._changed:
            # A newer one may have come in between; it is not lost, the next call gives it.
            if self._newest is picture:
                self._newest = None
        return picture

    def close(self) -> None:
        """Stop the thread and join it; whoever waits for a picture waits no longer."""
        self._stop.set()
        self._finish(self._end or SourceError(f"{self._name}: closed."))
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            logger.warning("%s: the driver hangs in a read; its thread is left behind.", self._name)

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
                self._finish(SourceError(f"{self._name}: no more frames come."))
                return
            with self._changed:
                self._newest = Picture(shot, self.next_index, time.monotonic(), time.time())
                self.next_index += 1
                self._changed.notify_all()

    def _finish(self, error: SourceError) -> None:
        with self._changed:
            self._end = error
            self._changed.notify_all()


@dataclass(eq=False)
class LiveSource:
    """A source that gives the newest frame of a device, and reopens the device when it falls silent.

    `captured_at_s` is the time since it was entered, at which the frame was read. Dropped frames leave gaps in `index`;
    reopening does not set it back. Entering tries once, so that a wrong address is told at once.
    """

    name: str
    open_device: Callable[[], Device]
    options: LiveOptions = field(default_factory=LiveOptions)
    continuous: bool = field(default=True, init=False)
    live: bool = field(default=True, init=False)
    fps: float | None = field(default=None, init=False)
    frame_count: int | None = field(default=None, init=False)
    _reader: NewestReader | None = field(default=None, init=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False)
    _started_at_s: float = field(default=0.0, init=False)

    def __enter__(self) -> LiveSource:
        """Open the device and wait for its first frame. Raises SourceError."""
        self._closed.clear()
        self._started_at_s = time.monotonic()
        self._reader = NewestReader(self.name, self.open_device)
        try:
            self._reader.wait(self.options.first_frame_s, self.options.waiting)
        except BaseException:  # Ctrl-C while waiting must join the thread, too
            self._reader.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading; an iteration that waits for a frame or to reopen ends."""
        self._closed.set()
        if self._reader is not None:
            self._reader.close()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source is left. Raises SourceError when it is lost for good."""
        if self._reader is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        timeout_s = self.options.silence_s
        failures = 0
        while not self._closed.is_set():
            try:
                picture = self._reader.take(timeout_s, self.options.waiting)
            except EndOfStreamError:
                return
            except SourceError as error:
                failures += 1
                self._reopen(failures, error)
                timeout_s = self.options.first_frame_s
                continue
            failures, timeout_s = 0, self.options.silence_s
            yield self._frame(picture)

    def _frame(self, picture: Picture) -> Frame:
        return Frame(
            picture.shot.image_bgr,
            picture.index,
            max(0.0, picture.read_at_s - self._started_at_s),
            self.name,
            picture.read_at_s,
            picture.unix_time_s,
            picture.shot.small_bgr,
        )

    def _reopen(self, failures: int, error: SourceError) -> None:
        """Close the device, wait, open it again. Raises SourceError when the tries are used up."""
        assert self._reader is not None
        if self._closed.is_set():
            return
        self._reader.close()
        if failures > self.options.tries:
            raise SourceError(
                f"{self.name}: lost for good after {self.options.tries} tries to reopen it. Last: {error}"
            )
        wait_s = min(self.options.backoff_s * 2.0 ** (failures - 1), self.options.backoff_max_s)
        logger.warning("%s Reopening in %g s (try %d of %d).", error, wait_s, failures, self.options.tries)
        again_at_s = time.monotonic() + wait_s
        while (left_s := again_at_s - time.monotonic()) > 0:
            self.options.waiting()
            if self._closed.wait(min(left_s, _TELL_S)):
                return
        self._reader = NewestReader(self.name, self.open_device, self._reader.next_index)
