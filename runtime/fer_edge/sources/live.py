"""Live sources: the newest picture of a camera or stream, which is opened again when its pictures stop coming.

A device that is not there, at the start or later, or that falls silent is opened again, each try later than the one
before, until it comes back or the tries are used up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.frames import Frame
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.sources.newest import TELL_S, Device, EndOfStreamError, NewestReader, Picture
from fer_edge.troubles import Troubles

logger = logging.getLogger("fer_edge")

# A driver that hangs leaves a thread behind, and so may each further reopening.
_MOST_LEFT_BEHIND = 3


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """Settings of a camera, and how long to wait for a camera or stream before reopening it or giving up.

    A reopening has failed unless frames came for `steady_s`. After `tries` failed ones in a row the source is lost for
    good; None tries without end. One that never gave a frame is lost after `first_tries`, where that is set: perhaps
    its address is wrong. The wait before a try starts at `backoff_s` and doubles up to `backoff_max_s`. A source that
    is not there at the start is waited for in the same way where `patient`; else entering it fails.

    A stream has its own size; `width_px` and `height_px` are for cameras, and `buffer_count` is for picamera2: its own
    default of 6 takes too much CMA memory on a board of 512 MB. A camera that sends one picture a request is asked
    every `snapshot_s`. Redirects and playlists may lead to `other_hosts` or not. `waiting` is called again and again
    while no frame comes, by the thread that waits for one, with a text that says what for once the source is away.
    """

    width_px: int = 640
    height_px: int = 480
    buffer_count: int = 2
    snapshot_s: float = 1.0
    other_hosts: bool = False
    limit: PictureLimit = DEFAULT_LIMIT
    first_frame_s: float = 10.0
    silence_s: float = 20.0
    tries: int | None = 10
    first_tries: int | None = None
    patient: bool = True
    steady_s: float = 10.0
    backoff_s: float = 1.0
    backoff_max_s: float = 30.0
    waiting: Callable[[str | None], None] = lambda text: None


@dataclass(eq=False)
class LiveSource:
    """A source that gives the newest frame of a device, and reopens the device when it falls silent.

    `captured_at_s` is the time since it was entered, at which the frame was read. Dropped frames leave gaps in `index`;
    reopening does not set it back. `interrupt` makes the thread that reads the device come back from it, where it can.
    """

    name: str
    open_device: Callable[[], Device]
    options: LiveOptions = field(default_factory=LiveOptions)
    interrupt: Callable[[], None] = lambda: None
    continuous: bool = field(default=True, init=False)
    live: bool = field(default=True, init=False)
    left_out: int = field(default=0, init=False)
    fps: float | None = field(default=None, init=False)
    frame_count: int | None = field(default=None, init=False)
    _reader: NewestReader | None = field(default=None, init=False)
    _closed: threading.Event = field(default_factory=threading.Event, init=False)
    _started_at_s: float = field(default=0.0, init=False)
    _troubles: Troubles = field(default_factory=Troubles, init=False)
    _failures: int = field(default=0, init=False)
    _steady_at_s: float | None = field(default=None, init=False)
    _left_behind: int = field(default=0, init=False)
    _absent: SourceError | None = field(default=None, init=False)

    def __enter__(self) -> LiveSource:
        """Open the device and wait for its first frame; where it is not there, the iteration goes on waiting.

        Raises SourceError where waiting would not help (a wrong address, no permission), or nobody has the patience.
        """
        self._closed.clear()
        self._started_at_s = time.monotonic()
        self._reader = NewestReader(self.name, self.open_device, 0, self.interrupt)
        try:
            self._reader.wait(self.options.first_frame_s, lambda: self.options.waiting(None))
        except BaseException as error:  # Ctrl-C while waiting must join the thread, too
            self._close_reader()
            if not isinstance(error, SourceAbsentError) or not self.options.patient or self.options.tries == 0:
                raise
            self._absent = error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading; an iteration that waits for a frame or to reopen ends."""
        self._closed.set()
        self._close_reader()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source is left. Raises SourceError when it is lost for good."""
        if self._reader is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        timeout_s = self.options.silence_s
        if self._absent is not None:
            absent, self._absent = self._absent, None
            self._reopen(absent)
            timeout_s = self.options.first_frame_s
        while not self._closed.is_set():
            try:
                picture = self._reader.take(timeout_s, lambda: self.options.waiting(None))
            except EndOfStreamError:
                return
            except SourceError as error:
                self._reopen(error)
                timeout_s = self.options.first_frame_s
                continue
            timeout_s = self.options.silence_s
            self._note_frame()
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

    def _note_frame(self) -> None:
        """A device that gives a frame now and then is still in trouble; one that gave them for a while is not."""
        if not self._failures:
            return
        now_s = time.monotonic()
        if self._steady_at_s is None:
            self._steady_at_s = now_s + self.options.steady_s
            self._troubles.relieve(f"{self.name}: frames come again, after {self._failures} failures.")
        if now_s >= self._steady_at_s:
            self._failures = 0
            self._troubles.over()

    def _reopen(self, error: SourceError) -> None:
        """Close the device, wait, open it again. Raises SourceError when the tries are used up."""
        assert self._reader is not None
        if self._closed.is_set():
            return
        self._failures, self._steady_at_s = self._failures + 1, None
        self._close_reader()
        is_new = self._reader.next_index == 0 and self.options.first_tries is not None
        tries = self.options.first_tries if is_new else self.options.tries
        if tries is not None and self._failures > tries:
            raise SourceError(f"{self.name}: lost for good after {tries} tries to reopen it. Last: {error}")
        if self._left_behind >= _MOST_LEFT_BEHIND:
            raise SourceError(f"{self.name}: lost for good, its driver hangs at every try. Last: {error}")
        wait_s = min(self.options.backoff_s * 2.0 ** min(self._failures - 1, 30), self.options.backoff_max_s)
        status = f"waiting for {self.name}: {error}"
        self.options.waiting(status)
        self._troubles.tell(
            f"{error} Waiting for it; trying again {_often(tries)}in {self.options.backoff_s:g} s, then less often."
        )
        self._wait(wait_s, status)
        if not self._closed.is_set():
            self._reader = NewestReader(self.name, self.open_device, self._reader.next_index, self.interrupt)

    def _wait(self, wait_s: float, status: str) -> None:
        again_at_s = time.monotonic() + wait_s
        try:
            while (left_s := again_at_s - time.monotonic()) > 0 and not self._closed.is_set():
                self.options.waiting(status)
                self._closed.wait(min(left_s, TELL_S))
        except BaseException:
            self._failures -= 1  # broken off, by a signal that asks for a new configuration: it is to be tried yet
            raise

    def _close_reader(self) -> None:
        if self._reader is not None and not self._reader.close():
            self._left_behind += 1
            logger.warning("%s: the driver hangs in a read; its thread is left behind.", self.name)


def _often(tries: int | None) -> str:
    if tries is None:
        return ""
    return "once (--tries 1) " if tries == 1 else f"up to {tries} times (--tries), "
