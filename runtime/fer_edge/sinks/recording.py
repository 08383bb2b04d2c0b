"""One video file in the making: hidden until it is finished, and watched, because the encoder says of nothing."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.native import native_name, native_path
from fer_edge.quiet import quiet_opencv

logger = logging.getLogger("fer_edge")

# Codecs that every build of OpenCV from PyPI can write; H.264 is in none of them.
CODECS = {".avi": "MJPG", ".m4v": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".mp4": "mp4v"}
# What finishing needs on the disk: the encoder's buffer of 256 kB a few times over, a byte a pixel, and the index.
_HELD_BACK_BYTES = 1 << 20
_INDEX_BYTES_PER_FRAME = 32
_LOOK_S = 1.0
_MOST_ZEROS_BYTES = 1 << 22
# The smallest frames, of a still picture, fill that buffer long before.
_STUCK_FRAMES = 50_000
_KEPT_UNFINISHED = 9


class Recording:
    """The file behind `path` while it is written. Raises OSError where it cannot be made.

    It is locked, so that another process can tell it from one that a dead process left behind.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps = path, fps
        # The suffix stays last: OpenCV chooses the container by it.
        self._temporary = path.with_name(f".{native_name(path.stem)}.{os.getpid()}.part{path.suffix}")
        self._descriptor = os.open(self._temporary, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # some network file systems have no locks; what is left there is never taken up
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._writer: cv2.VideoWriter | None = None
        self.width_px = self.height_px = self.frames = 0
        self._looked_at_s, self._looked_at_bytes = float("-inf"), 0
        self._size_bytes = self._grown_at_frame = 0

    def open(self, height_px: int, width_px: int) -> None:
        """Start the encoder, unless it was. Raises OSError where there is no room, or the encoder refuses."""
        if self._writer is not None:
            return
        # The encoders want even sizes.
        self.width_px, self.height_px = max(2, width_px & ~1), max(2, height_px & ~1)
        self._require_room()
        quiet_opencv()
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        with native_path(self._temporary) as name:
            writer = cv2.VideoWriter(name, codec, self._fps, (self.width_px, self.height_px))
        if not writer.isOpened():
            raise OSError(f"the encoder refuses {self.width_px}x{self.height_px} at {self._fps:g} frames/s")
        self._writer = writer

    def write(self, picture: NDArray[np.uint8], copies: int) -> None:
        """Write `picture`, of the size it was opened with. Raises OSError where the file cannot grow: then close it."""
        assert self._writer is not None, "open it before writing"
        self._require_room()
        for _ in range(copies):
            self._writer.write(picture)
            self.frames += 1

    def close(self, name: Path) -> tuple[Path | None, str]:
        """Finish the file; what it is called now, and what is wrong with it.

        It gets `name` where it can be played, else a name that says so; without a frame it is removed.
        """
        try:
            if self._writer is None:
                self._temporary.unlink(missing_ok=True)
                return None, ""
            self._writer.release()
            found = _frames_in(self._temporary)
            if not found:
                name = unfinished(self._path)
            self._temporary.replace(name)
        finally:
            self._writer = None
            os.close(self._descriptor)
        if not found:
            return name, f"it was cut short and may not play; kept as {name}"
        # Some containers have no count, only a length in milliseconds, from which the last frame may be rounded away.
        if found < self.frames - 1:
            return name, f"only {found} of {self.frames} frames arrived in the file; kept as {name}"
        return name, ""

    def _require_room(self) -> None:
        """Raise OSError unless the file can grow by what finishing it needs; looked at once a second, or sooner.

        The encoder keeps a failure to itself, and writes nothing more after it. So zeros are written behind the end and
        taken back, which meets a full disk, a quota, a limit of the size and a disk that went away alike.
        """
        size_bytes, now_s = os.fstat(self._descriptor).st_size, time.monotonic()
        pixels = self.width_px * self.height_px
        if size_bytes > self._size_bytes:
            self._size_bytes, self._grown_at_frame = size_bytes, self.frames
        elif self.frames - self._grown_at_frame > _STUCK_FRAMES:
            raise OSError(f"the file did not grow for {_STUCK_FRAMES} frames")
        if now_s - self._looked_at_s < _LOOK_S and size_bytes - self._looked_at_bytes < pixels // 2:
            return
        self._looked_at_s, self._looked_at_bytes = now_s, size_bytes
        needed_bytes = _HELD_BACK_BYTES + pixels + _INDEX_BYTES_PER_FRAME * self.frames
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < needed_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        zeros = bytes(min(needed_bytes, _MOST_ZEROS_BYTES))
        try:
            if os.pwrite(self._descriptor, zeros, size_bytes) < len(zeros):
                raise OSError(errno.ENOSPC, "no room for more")
        finally:
            os.ftruncate(self._descriptor, size_bytes)


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then the same name with -2, -3, ..."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def unfinished(path: Path) -> Path:
    """A name beside `path` for a recording that was cut short; where all nine are taken, that of the oldest."""
    names = numbered(path.with_name(f"{path.stem}-unfinished{path.suffix}"))
    taken: list[Path] = []
    for name in names:
        if not name.exists():
            return name
        taken.append(name)
        if len(taken) == _KEPT_UNFINISHED:
            break
    return min(taken, key=lambda name: name.stat().st_mtime)


def take_up_leftovers(path: Path) -> None:
    """Give recordings of `path` that dead processes left a name that is seen; those without a frame are removed."""
    hidden = re.compile(rf"\.{re.escape(native_name(path.stem))}\.\d+\.part{re.escape(path.suffix)}")
    for found in sorted(path.parent.iterdir()):
        if not hidden.fullmatch(found.name):
            continue
        with suppress(OSError), open(found, "rb") as stream:  # locked: it is being written; another's: not to be read
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(stream.fileno()).st_size == 0:
                found.unlink()
                continue
            kept = unfinished(path)
            found.replace(kept)
            logger.warning("a recording that was cut short is kept as %s; it may not play.", kept)


def _frames_in(path: Path) -> int:
    """How many frames can be played; 0 where it is no video."""
    with native_path(path) as name:
        reader = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    try:
        return max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT))) if reader.isOpened() else 0
    finally:
        reader.release()
