"""Files of text lines that are readable while they grow: whole after a power cut, rotated, followed by name.

A pipe in the place of a file is written with patience for its reader.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path

from fer_edge.arguments import STDOUT
from fer_edge.errors import UsageError
from fer_edge.files import DEFAULT_FSYNC_S
from fer_edge.sinks.output_name import OutputName, is_regular, lock, unlock
from fer_edge.sinks.periodic_sync import PeriodicSync
from fer_edge.streams import drop_stdout

# How long to wait for the reader of a full pipe.
_PATIENCE_S = 2.0
logger = logging.getLogger("fer_edge")

_BLOCK = 1 << 16
# The open file is not to blame for these.
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Rotation:
    """When to start a new file, and how many older ones to keep; FILE.1 is the newest of those."""

    max_bytes: int
    keep: int = 5


@dataclass(frozen=True, kw_only=True)
class LineFormat:
    """The format of a file of lines.

    `head` is the first line, with its newline. `start` is what every file of this format starts with. `is_whole` tells
    a last line that only lacks its newline from one that was cut off.
    """

    head: str = ""
    start: bytes = b""
    is_whole: Callable[[bytes], bool] = lambda line: False


@dataclass(frozen=True, kw_only=True)
class LineOptions:
    """How to open and keep a LineFile.

    `append` continues an existing file, which is emptied otherwise; `rotation` implies it. `fsync_s` is how many
    seconds of lines a power cut may cost; with 0 every line is on the disk before the next frame.
    """

    rotation: Rotation | None = None
    append: bool = False
    fsync_s: float = DEFAULT_FSYNC_S


class LineFile:
    """A file that is written line by line, without a buffer.

    The file always ends with a whole line: a line that does not fit on the disk is removed again, and so is half a line
    that a power cut left, the next time the file is opened. A file of another format, such as a CSV with the columns of
    another model, is renamed to FILE.1 and not continued.

    The name is looked up for every line, so a file that logrotate moved, removed or emptied is started again. Behind a
    symbolic link the target is rotated. The file is locked against other processes. Pipes and devices are only written
    to. Raises UsageError where the file cannot be opened.
    """

    def __init__(self, path: Path, line_format: LineFormat, options: LineOptions) -> None:
        self._name, self._format, self._options = OutputName(path), line_format, options
        self._head = line_format.head.encode(errors="backslashreplace")
        self._descriptor, self._target = -1, path
        self._pipe: PipeOutput | None = None
        self._sync = PeriodicSync(options.fsync_s)
        self._refused = b""
        self._rotating = self._too_large = False
        self._written_to = 0
        try:
            self._open(empty=not options.append and options.rotation is None)
        except (OSError, ValueError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {path}: {reason}. Choose a file you may write to.") from None

    @property
    def lost(self) -> int:
        """Calls of `write` that succeeded and did not reach the disk."""
        return self._sync.lost

    def write(self, lines: str) -> None:
        """Append `lines`, which end with their newline. Raises OSError when they cannot be written whole.

        An empty string after lines that failed tries those again: writing nothing would succeed on a full disk.
        """
        data = lines.encode("utf-8", errors="backslashreplace") or self._refused
        self._refused = data
        try:
            self._follow_name()
            self._rotate_before(len(data))
            self._append(data)
            self._refused = b""
            self._sync.wrote(1 if data else 0)
        except OSError as error:
            # The next call opens it by its name again: its disk may have been mounted again.
            if error.errno not in _NO_MORE_FILES and not (self._pipe and self._pipe.owes_a_rest):
                self._leave()
            raise

    def close(self) -> None:
        """Close the file. Waits for the disk for half a second at most."""
        self._leave()
        self._sync.close()

    def _leave(self) -> None:
        descriptor, pipe = self._descriptor, self._pipe
        self._descriptor, self._pipe = -1, None
        if descriptor >= 0:
            if pipe is None:
                unlock(descriptor)
            self._sync.leave()
            os.close(descriptor)

    def _open(self, *, empty: bool = False) -> None:
        """Open the file the name leads to, then close the one that was open."""
        target = self._name.find()
        pipe = None if is_regular(target) else PipeOutput(target)
        descriptor = _opened(target) if pipe is None else pipe.descriptor
        self._leave()
        self._descriptor, self._target, self._pipe = descriptor, target, pipe
        self._written_to = 0
        if pipe is not None:
            pipe.send(self._head)
            return
        self._sync.watch(descriptor, target.parent)
        self._take_up(empty=empty)

    def _take_up(self, *, empty: bool) -> None:
        """Make the file start with the head and end with a whole line."""
        if empty:
            os.ftruncate(self._descriptor, 0)
        elif not self._begins_well():
            logger.warning("%s has another format than this output; it is renamed to %s.1.", self._target, self._target)
            self._set_aside()
            self._begin()
            return
        self._heal()
        if self._head and self._size() == 0:
            with suppress(OSError):  # a full disk is told of by the first line, which then brings its head
                self._append(b"")

    def _begins_well(self) -> bool:
        """Whether the file starts as this format does, as far as it goes."""
        start = self._format.start
        return start.startswith(os.pread(self._descriptor, len(start), 0))

    def _heal(self) -> None:
        """Complete or remove what a power cut left after the last newline."""
        size = self._size()
        end = _after_last_newline(self._descriptor, size)
        if end == size:
            return
        if size - end <= _BLOCK and self._format.is_whole(os.pread(self._descriptor, size - end, end)):
            os.write(self._descriptor, b"\n")
            return
        os.ftruncate(self._descriptor, end)
        logger.warning("%s ended with an incomplete line of %d bytes, which was removed.", self._target, size - end)

    def _follow_name(self) -> None:
        if self._descriptor >= 0 and self._name.leads_to(self._descriptor):
            return
        told = self._descriptor >= 0 and not self._rotating
        self._begin()
        if told:
            logger.warning("%s was moved or removed; starting a new file.", self._name.path)

    def _begin(self) -> None:
        """Open the file and remove older ones beyond those to keep."""
        self._open()
        self._rotating = False
        if self._options.rotation is not None:
            for old in takewhile(Path.exists, _chain(self._target, self._options.rotation.keep + 1)):
                old.unlink()

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _append(self, data: bytes) -> None:
        if self._pipe is not None:
            self._pipe.send(data)
            return
        if 0 < self._size() < self._written_to:
            self._take_up(empty=False)  # another program cut it off, perhaps within a line
        size = self._size()
        rest = memoryview(data if size else self._head + data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise
        self._written_to = self._size()

    def _rotate_before(self, more_bytes: int) -> None:
        rotation = self._options.rotation
        if rotation is None or self._pipe is not None:
            return
        size = self._size()
        if size > len(self._head) and size + more_bytes > rotation.max_bytes:
            try:
                self._set_aside()
            except OSError as error:
                if not self._too_large:
                    logger.warning("%s cannot be rotated and grows beyond its limit: %s.", self._target, error.strerror)
                self._too_large = True
                return
            self._too_large = False
            self._begin()

    def _set_aside(self) -> None:
        """Rename FILE to FILE.1, FILE.1 to FILE.2, and so on up to the first free name.

        The oldest file is removed only once there is a new FILE. Where that cannot be created its name stays free, and
        another try renames nothing more.
        """
        keep = None if self._options.rotation is None else self._options.rotation.keep
        moving = list(takewhile(Path.exists, islice(_chain(self._target), None if keep is None else keep + 1)))
        for source, aim in reversed(list(zip(moving, _chain(self._target, 1), strict=False))):
            source.replace(aim)
        self._rotating = True


def _opened(path: Path) -> int:
    """Open and lock a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _chain(path: Path, first: int = 0) -> Iterator[Path]:
    """FILE, FILE.1, FILE.2, ... from number `first` on, skipping folders."""
    names = (path.name if number == 0 else f"{path.name}.{number}" for number in count(first))
    return (file for name in names if not (file := path.with_name(name)).is_dir())


def _after_last_newline(descriptor: int, size: int) -> int:
    """Return the position behind the last newline, which is `size` where the file ends with one."""
    end = size
    while end > 0:
        start = max(end - _BLOCK, 0)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class PipeOutput:
    """A pipe or device, opened without waiting for its reader. A line that was sent in part is completed by the next.

    Whoever opens it closes `descriptor`. Raises OSError where it cannot be opened, as a named pipe without a reader.
    """

    def __init__(self, path: Path) -> None:
        self._is_stdout = path == STDOUT
        self.descriptor = _pipe_opened(path)
        self._rest = b""

    @property
    def owes_a_rest(self) -> bool:
        """Whether part of a line was sent, so that it must be this reader who gets the rest."""
        return bool(self._rest)

    def send(self, data: bytes) -> None:
        """Write the rest of the last line, then `data`. Raises OSError where nobody reads them."""
        left = memoryview(self._rest + data)
        is_begun = self.owes_a_rest
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
                is_begun = True
            except BrokenPipeError:
                if not self._is_stdout:
                    raise
                drop_stdout()  # whoever read it has gone, as `head` does; the other sinks have work to do
                os.dup2(sys.stdout.fileno(), self.descriptor)
                return
            except BlockingIOError:
                if not select.select([], [self.descriptor], [], _PATIENCE_S)[1]:
                    self._rest = bytes(left) if is_begun else b""
                    raise OSError(errno.EAGAIN, "nobody reads from it") from None
        self._rest = b""


def _pipe_opened(path: Path) -> int:
    if path == STDOUT:
        return os.dup(sys.stdout.fileno())
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads from it; start its reader first") from None
        raise
