"""Writing one video file: OpenCV encodes into a pipe, and a thread writes complete pieces from the pipe to the file.

This way the file plays wherever it ends, write errors are seen (OpenCV hides them), and the encoder needs to know
nothing about the file's name.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.native import native_path
from fer_edge.quiet import quiet_opencv
from fer_edge.sinks.containers import Container, Piece
from fer_edge.sinks.muxers import Avi, FragmentedMp4, Matroska
from fer_edge.sinks.output_name import OutputName, lock, unlock
from fer_edge.sinks.periodic_sync import PeriodicSync

_PIPE_BLOCK = 1 << 16
# How often the room on the disk and the file's name are looked at.
_LOOK_S = 1.0
# Space that is left free for the index of the file, and for other programs.
_ROOM_BYTES = 1 << 20
_INDEX_BYTES_PER_FRAME = 16
# MPEG-4 stores width and height in 13 bits.
_MOST_PX = 8190


def container_of(suffix: str, fps: float) -> Container:
    """Return the container for a suffix, one of `fer_edge.sinks.containers.SUFFIXES`."""
    if suffix == ".avi":
        return Avi()
    return Matroska(fps) if suffix == ".mkv" else FragmentedMp4()


class Recording:
    """A new video file called `name`, or NAME-2, NAME-3, ... where that is taken: a recording is never replaced.

    A power cut costs its last `fsync_s` seconds and twelve frames. Raises OSError where it cannot be created.
    """

    def __init__(self, name: OutputName, fps: float, fsync_s: float) -> None:
        self._name, self._fps = name, fps
        self._target = name.find()
        self._descriptor, self.path = _claim(self._target)
        self._container: Container = container_of(self.path.suffix.lower(), fps)
        self._sync = PeriodicSync(fsync_s)
        self._sync.watch(self._descriptor, self.path.parent)
        self._writer: cv2.VideoWriter | None = None
        self._thread: threading.Thread | None = None
        self.failure: OSError | None = None
        # Written with the first frame: a run that is killed before leaves an empty file, which the next one uses.
        self._head = b""
        self._size_bytes = self._looked_at_bytes = 0
        self._looked_at_s = self._sought_at_s = float("-inf")
        self.width_px = self.height_px = 0
        # Frames given to the encoder, and frames in the file.
        self.frames = self._stored = 0

    def open(self, height_px: int, width_px: int) -> None:
        """Start the encoder for pictures of this size, unless it runs. Raises OSError where it refuses."""
        if self._writer is not None:
            return
        scale = min(1.0, _MOST_PX / max(width_px, height_px))
        # The encoders want even sizes.
        self.width_px, self.height_px = (max(2, int(side * scale) & ~1) for side in (width_px, height_px))
        self._writer, pipe = _encoder(self._container, self._fps, self.width_px, self.height_px)
        self._thread = threading.Thread(target=self._run, args=(pipe,), name=f"record {self.path}", daemon=True)
        self._thread.start()

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Write a picture of the size it was opened with. Raises OSError where the file cannot grow; then close it."""
        assert self._writer is not None, "open it before writing"
        if self.failure is not None:
            raise self.failure
        self._writer.write(picture)
        self.frames += 1

    @property
    def is_full(self) -> bool:
        """Whether the file has reached the size limit of its format."""
        return self._size_bytes >= self._container.max_bytes

    def was_moved(self) -> bool:
        """Whether its name no longer leads to it; checked once a second."""
        now_s = time.monotonic()
        if now_s - self._sought_at_s < _LOOK_S:
            return False
        self._sought_at_s = now_s
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            return True
        return not same or self._name.behind_links() != self._target

    def close(self) -> int:
        """Finish the file and return the number of frames missing in it. A file without frames is removed."""
        if self._writer is not None and self._thread is not None:
            self._writer.release()
            self._thread.join()
        try:
            if self._stored:
                self._finish()
            elif os.fstat(self._descriptor).st_nlink:
                self.path.unlink(missing_ok=True)
        finally:
            unlock(self._descriptor)
            self._sync.close()
            os.close(self._descriptor)
        return self.frames - self._stored + self._sync.lost

    def _finish(self) -> None:
        """Append the index, where there is room for it, and write the final header."""
        size: int | None = None
        with suppress(OSError):
            self._append(self._container.index(self._size_bytes))
            size = self._size_bytes
        with suppress(OSError):
            os.pwrite(self._descriptor, self._container.head(size=size), 0)

    def _run(self, pipe: int) -> None:
        # Read to the end even after a failure: the encoder must not block on a full pipe.
        while data := os.read(pipe, _PIPE_BLOCK):
            if self.failure is None:
                self.failure = self._store(data)
        os.close(pipe)

    def _store(self, data: bytes) -> OSError | None:
        """Write the pieces that `data` completes to the file. Returns the error, if there is one."""
        try:
            for piece in self._container.split(data):
                if piece.frames or self._stored:
                    self._require_room()
                    self._put(piece)
                else:
                    self._head += piece.data
        except OSError as error:
            return error
        except Exception as error:  # an unexpected stream ends the recording, not the thread
            return OSError(errno.EIO, f"the encoder's stream is not understood ({error})")
        return None

    def _put(self, piece: Piece) -> None:
        position = self._size_bytes + len(self._head)
        self._append(self._head + piece.data)
        self._head = b""
        self._container.stored(piece, position)
        os.pwrite(self._descriptor, self._container.head(), 0)
        self._stored += piece.frames
        self._sync.wrote(piece.frames)

    def _append(self, data: bytes) -> None:
        self._require_untouched()
        rest, position = memoryview(data), self._size_bytes
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, position)
                rest, position = rest[written:], position + written
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes = position

    def _require_untouched(self) -> None:
        """Raise OSError where another program removed or truncated the file, and with it the frames."""
        found = os.fstat(self._descriptor)
        if found.st_nlink == 0 or found.st_size < self._size_bytes:
            self._stored = 0
            os.ftruncate(self._descriptor, 0)
            raise OSError(errno.EIO, f"another program {'truncated it' if found.st_nlink else 'removed it'}")

    def _require_room(self) -> None:
        """Raise OSError unless there is room to finish the file; checked once a second and every 512 kB."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s < _LOOK_S and self._size_bytes - self._looked_at_bytes < _ROOM_BYTES // 2:
            return
        self._looked_at_s, self._looked_at_bytes = now_s, self._size_bytes
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < _ROOM_BYTES + _INDEX_BYTES_PER_FRAME * self._stored:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def numbered(path: Path) -> Iterator[Path]:
    """`path`, then the same name with -2, -3, ..."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _claim(target: Path) -> tuple[int, Path]:
    """Create and lock a file; returns its descriptor and its path."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is a pipe or a device, expected a file")
    for path in numbered(target):
        descriptor = _claimed(path)
        if descriptor is not None:
            return descriptor, path
    raise AssertionError("numbers do not end")


def _claimed(path: Path) -> int | None:
    """Open `path` if it is new or empty; None where it is taken."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        if not (path.is_file() and path.stat().st_size == 0 and os.access(path, os.R_OK | os.W_OK)):
            return None
        descriptor = os.open(path, os.O_RDWR)
    try:
        lock(descriptor)
        if os.fstat(descriptor).st_size == 0:
            return descriptor
    except OSError:  # another process has just started to record to it
        pass
    os.close(descriptor)
    return None


def _encoder(container: Container, fps: float, width_px: int, height_px: int) -> tuple[cv2.VideoWriter, int]:
    """Start a VideoWriter that writes to a pipe; returns it and the pipe's read end. Raises OSError."""
    quiet_opencv()
    folder = _folder_for_a_pipe()
    try:
        name = folder / f"pipe{container.muxer}"
        os.mkfifo(name, 0o600)
        # Without O_NONBLOCK this would wait for the writer, which is opened next.
        pipe = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        fourcc = cv2.VideoWriter.fourcc(*container.codec)
        with native_path(name) as native:
            writer = cv2.VideoWriter(native, cv2.CAP_FFMPEG, fourcc, fps, (width_px, height_px))
        os.set_blocking(pipe, True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not writer.isOpened():
        os.close(pipe)
        raise OSError(errno.EINVAL, f"the encoder refuses {width_px}x{height_px} at {fps:g} frames/s")
    return writer, pipe


def _folder_for_a_pipe() -> Path:
    """Create a temporary folder; in memory where possible, because the disk may be full."""
    with suppress(OSError):
        return Path(tempfile.mkdtemp(prefix="fer-edge-", dir="/dev/shm"))
    return Path(tempfile.mkdtemp(prefix="fer-edge-"))
