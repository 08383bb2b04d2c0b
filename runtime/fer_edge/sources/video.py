"""Video files: every frame exactly once, at the file's own pace or as fast as they are taken.

The clock repairs the times that recordings put together from others tell; frames are read ahead in a thread.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.picture_file import check_file
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.redaction import redacted
from fer_edge.sources.capture import positive_or_none, square_pixels
from fer_edge.sources.ffmpeg import open_capture
from fer_edge.troubles import Troubles

Item = TypeVar("Item")

_JOIN_S = 1.0
# Recordings of a DVR or a TV are often put together from several, each with a clock of its own. FFMPEG's own limit.
_LONGEST_GAP_JOINED_S = 10.0
# Elsewhere a pause is one: a time lapse, a screen that did not change, a camera that films what moves.
_LONGEST_GAP_S = 3600.0
# Frames that are shown in another order than they are stored may be told a little backwards.
_SMALL_STEP_BACK_S = 1.0
logger = logging.getLogger("fer_edge")

# Containers that count by duration times rate are often a frame or two off; a cut file misses many.
_TOLERANCE_FRAMES = 2
_TOLERANCE_FRACTION = 0.01
# For a container without a rate, or with one that no camera has: the unit of its clock.
_FALLBACK_FPS = 25.0
_HIGHEST_FPS = 1000.0
# In real time a longer pause than this is not waited for.
_LONGEST_WAIT_S = 10.0
_HEAD_BYTES = 400
# Of such frames only one is decoded ahead.
_LARGE_PIXELS = 4e6
# MPEG-TS, plain or with a time stamp before each packet, and MPEG-PS.
_TS_PACKET_BYTES = ((0, 188), (4, 192))
_PS_START = b"\0\0\x01\xba"


class VideoSource:
    """The frames of a video file, decoded ahead by a thread. `captured_at_s` is media time from its first frame.

    In `real_time` no frame is given before its time, but a pause of more than 10 s is not waited for; whoever is slower
    gets every frame all the same, later. A clock that jumps is bridged (`MediaClock`). A file that ends early gives
    what could be decoded, then a warning in the log.
    """

    continuous = True
    live = False
    left_out = 0

    def __init__(self, path: Path, *, real_time: bool = False, limit: PictureLimit = DEFAULT_LIMIT) -> None:
        self.path, self._limit = path, limit
        self._real_time = real_time
        self._ahead: ReadAhead[tuple[NDArray[np.uint8], float]] | None = None
        self.name = redacted(str(path))
        self.fps: float | None = None
        self.frame_count: int | None = None
        self._capture: cv2.VideoCapture | None = None
        self._joined, self._claimed = False, 0
        self._troubles = Troubles()

    def __enter__(self) -> VideoSource:
        """Open the file and find its rate and length. Raises SourceError when it holds no video."""
        check_file(self.path, "a video file")
        capture = open_capture(self.path, self.name, limit=self._limit)
        # Decoding the first frame now is what tells a video from a file that only looks like one.
        if not capture.isOpened() or not capture.grab():
            capture.release()
            raise SourceError(
                f"{self.name}: not a video that can be decoded: damaged, cut short or another format. "
                "Expected e.g. .mp4, .mkv, .avi; check that it plays elsewhere."
            )
        self._capture = capture
        fps = positive_or_none(capture, cv2.CAP_PROP_FPS) or _FALLBACK_FPS
        self.fps = fps if fps <= _HIGHEST_FPS else _FALLBACK_FPS
        with self.path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        self._joined = _is_joined(head)
        self._claimed = int(min(positive_or_none(capture, cv2.CAP_PROP_FRAME_COUNT) or 0, 2**53))
        # Others are counted by their duration times their rate, which says little where the rate varies.
        self.frame_count = (self._claimed or None) if _counts_frames(head) else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Join the thread and close the file."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once, index 0, 1, 2, ..."""
        if self._capture is None or self.fps is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        large = (
            self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) * self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT) > _LARGE_PIXELS
        )
        self._ahead = ReadAhead(self._pictures(self._capture), f"read {self.name}", 1 if large else 2)
        clock = MediaClock(1.0 / self.fps, joined=self._joined)
        given, started_at_s = 0, time.monotonic()
        for image, position_s in self._ahead:
            before_s, jumps = clock.time_s, clock.jumps
            time_s = clock.advance(position_s)
            if given == 0:
                started_at_s = time.monotonic()
            if clock.jumps > jumps:
                self._tell_jump(clock)
            if self._real_time:
                if time_s - before_s > _LONGEST_WAIT_S:
                    started_at_s -= self._skip_pause(time_s - before_s)
                time.sleep(max(0.0, started_at_s + time_s - time.monotonic()))
            frame = Frame(image, given, time_s, self.name)
            del image  # names would keep large frames longer than they are needed
            yield frame
            del frame
            given += 1
        self._warn_if_short(given, clock)

    def _tell_jump(self, clock: MediaClock) -> None:
        self._troubles.tell(
            f"{self.name}: its clock jumps by {clock.last_jump_s:.0f} s at {clock.time_s:.1f} s, as if recordings were "
            "joined; the jump is left out of the times."
        )

    def _skip_pause(self, pause_s: float) -> float:
        """The seconds of a pause that are not waited for."""
        self._troubles.tell(f"{self.name}: nothing for {pause_s:.0f} s by its clock; that is not waited for.")
        return pause_s - min(1.0, 1.0 / (self.fps or _FALLBACK_FPS))

    def _pictures(self, capture: cv2.VideoCapture) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Each picture with its position in seconds. The first was grabbed on entering."""
        found, image = capture.retrieve()
        while found:
            picture = np.asarray(image, dtype=np.uint8)
            if picture.shape[0] * picture.shape[1] > self._limit.megapixels * 1e6:
                raise SourceError(
                    f"{self.name}: its frames grow to {picture.shape[1]}x{picture.shape[0]}. {self._limit.remedy}"
                )
            picture = square_pixels(picture, capture)
            taken = [(picture, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)]
            del image, picture
            yield taken.pop()
            found, image = capture.read()

    def _warn_if_short(self, given: int, clock: MediaClock) -> None:
        """Warn where both frames and time are missing: a count alone may only be duration times rate."""
        frames = self._claimed - max(_TOLERANCE_FRAMES, self._claimed * _TOLERANCE_FRACTION)
        if given < frames and clock.time_s < frames / (self.fps or _FALLBACK_FPS) and not clock.jumps:
            logger.warning(
                "%s: ended early: %d of the %d frames it claims could be decoded. Is the file cut short?",
                *(self.name, given, self._claimed),
            )


def _is_joined(head: bytes) -> bool:
    """True for the kinds of file that become one by being put one behind the other, each part with its own clock."""
    is_ts = any(head[at : at + 1] == head[at + size : at + size + 1] == b"G" for at, size in _TS_PACKET_BYTES)
    return is_ts or head.startswith(_PS_START)


def _counts_frames(head: bytes) -> bool:
    """True for containers with an index that counts their frames: MP4 and its relatives, and AVI."""
    return head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") or head[8:12] == b"AVI "


class MediaClock:
    """Turns positions into times that only grow, from 0. `period_s` is what lies between two frames of unknown time.

    A jump of the container's clock, forwards beyond all sense or backwards, is bridged by one period; `jumps` counts
    them, and `last_jump_s` is how far the last one went. `joined` is true for containers that are often put together
    from several recordings.
    """

    def __init__(self, period_s: float, *, joined: bool = False) -> None:
        self._period_s = period_s
        self._longest_gap_s = _LONGEST_GAP_JOINED_S if joined else _LONGEST_GAP_S
        self._offset_s: float | None = None
        self.time_s = 0.0
        self.jumps = 0
        self.last_jump_s = 0.0

    def advance(self, position_s: float) -> float:
        """The time of the next frame, at `position_s` by the container's clock; also kept in `time_s`."""
        known = math.isfinite(position_s)
        if self._offset_s is None:
            self._offset_s = -position_s if known else 0.0
            return self.time_s
        step_s = position_s + self._offset_s - self.time_s if known else 0.0
        next_s = self.time_s + self._period_s
        if step_s > self._longest_gap_s or step_s < -_SMALL_STEP_BACK_S:
            # Some decoders give the last frames without a time, as 0; that is not a jump worth a word.
            if position_s != 0:
                self.jumps, self.last_jump_s = self.jumps + 1, step_s
                self._offset_s = next_s - position_s
        elif step_s > 0:
            next_s = self.time_s + step_s
        self.time_s = next_s
        return self.time_s


class ReadAhead(Generic[Item]):
    """Iterates what `items` gives, which a thread of its own asks for. What `items` raises is raised here.

    `ahead` items are kept ready: two hide the decoding of a video, more would only cost memory.
    """

    def __init__(self, items: Iterator[Item], name: str, ahead: int = 2) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """The items in order, each once."""
        # Popped, not named: items may be large, and a name would keep one while the next is made.
        taken = [self._queue.get()]
        while isinstance(taken[0], tuple):
            yield taken.pop()[0]  # type: ignore[index]
            taken.append(self._queue.get())
        if taken[0] is not None:
            raise taken[0]

    def close(self) -> None:
        """Stop the thread and join it."""
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
                del item
        except Exception as error:  # it belongs to who iterates
            end = error
        self._put(end)

    def _put(self, item: tuple[Item] | BaseException | None) -> bool:
        """Queue `item` as soon as there is room; false when the reading was stopped."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False
