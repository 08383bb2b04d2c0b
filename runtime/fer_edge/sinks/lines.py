"""Text files of whole lines, readable while they grow, and the base of the sinks that write them."""

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
from types import TracebackType
from typing import TypeVar

from fer_edge.arguments import STDOUT
from fer_edge.errors import UsageError
from fer_edge.files import DEFAULT_FSYNC_S
from fer_edge.frames import Frame, FrameResult
from fer_edge.sinks.output_name import OutputName, is_regular, lock, unlock
from fer_edge.sinks.periodic_sync import PeriodicSync
from fer_edge.streams import drop_stdout

logger = logging.getLogger("fer_edge")

_BLOCK = 1 << 16
# How long a full pipe is waited for: its reader is slow, or hangs.
_PATIENCE_S = 2.0
# With these nothing is wrong with the open file.
_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True)
class Rotation:
    """When to begin a new file, and how many older ones to keep: FILE.1 is the newest of them."""

    max_bytes: int
    keep: int = 5


@dataclass(frozen=True, kw_only=True)
class LineFormat:
    """What the lines of a file look like.

    `head` is the first line of every file, with its newline, and `start` is how a file of this format begins.
    `is_whole` tells a last line that merely lacks its newline from one that was cut off.
    """

    head: str = ""
    start: bytes = b""
    is_whole: Callable[[bytes], bool] = lambda line: False


@dataclass(frozen=True, kw_only=True)
class LineOptions:
    """How a LineFile is kept. `append` goes on with a file that is there, which else is emptied; rotation implies it.

    `fsync_s` is how many seconds of lines a power cut may cost; 0 has every line reach the disk before the next frame.
    """

    rotation: Rotation | None = None
    append: bool = False
    fsync_s: float = DEFAULT_FSYNC_S


class LineFile:
    """Written line by line under its final name.

    Every line goes to the system at once. When one cannot be written whole (disk full), its part is taken back, so the
    file always ends with a whole line; half a line that a power cut left is removed at the next opening. A file that
    does not begin like this format, such as a CSV of another model, is set aside as FILE.1 instead of gone on with.

    The name is looked up for every line: a file that was moved, removed or emptied meanwhile, as logrotate does, is
    begun anew, and one behind a symbolic link is rotated where it lies. Another process cannot write the same file. A
    pipe or a device is only written to. Raises UsageError where the file cannot be made.
    """

    def __init__(self, path: Path, line_format: LineFormat, options: LineOptions) -> None:
        self._name, self._format, self._options = OutputName(path), line_format, options
        self._head = line_format.head.encode(errors="backslashreplace")
        self._descriptor, self._target, self._regular = -1, path, True
        self._sync = PeriodicSync(options.fsync_s)
        self._refused = self._torn = b""
        self._rotating = self._too_large = False
        try:
            self._open(empty=not options.append and options.rotation is None)
        except (OSError, ValueError) as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write {path}: {reason}. Choose a file you may write to.") from None

    @property
    def lost(self) -> int:
        """Writes that were accepted and did not reach the disk."""
        return self._sync.lost

    def write(self, lines: str) -> None:
        """Append `lines`, which end with their newline. Raises OSError when they cannot be written whole.

        No lines after some that were refused try those again: writing nothing would succeed on a full disk.
        """
        data = lines.encode("utf-8", errors="backslashreplace") or self._refused
        self._refused = data
        try:
            self._follow_name()
            self._rotate_before(len(data))
            self._append(data)
            self._sync.wrote(1 if data else 0)
        except OSError as error:
            # The next try opens it by its name: the disk may have come back as another one.
            if error.errno not in _NO_MORE_FILES and not self._torn:
                self._leave()
            raise
        self._refused = b""

    def close(self) -> None:
        """Close the file; the disk is waited for only briefly."""
        self._leave()
        self._sync.close()

    def _leave(self) -> None:
        descriptor, self._descriptor, self._torn = self._descriptor, -1, b""
        if descriptor >= 0:
            unlock(descriptor)
            self._sync.leave()
            os.close(descriptor)

    def _open(self, *, empty: bool = False) -> None:
        """Open the file behind the name, and only then leave the one before."""
        target = self._name.find()
        regular = is_regular(target)
        if target == STDOUT:
            descriptor = os.dup(sys.stdout.fileno())
        elif regular:
            descriptor = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        else:
            descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if regular:
                lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._leave()
        self._descriptor, self._target, self._regular = descriptor, target, regular
        if not regular:
            self._send(self._head)
            return
        self._sync.watch(descriptor, target.parent)
        self._take_up(empty=empty)

    def _take_up(self, *, empty: bool) -> None:
        """Have the file begin with the head and end with a whole line."""
        if empty:
            os.ftruncate(self._descriptor, 0)
        elif not self._begins_well():
            logger.warning("%s does not hold lines such as these; it is set aside as %s.1.", self._target, self._target)
            self._set_aside()
            self._begin()
            return
        self._heal()
        if self._head and self._size() == 0:
            with suppress(OSError):  # a full disk is told of by the first line, which then brings its head
                self._append(b"")

    def _begins_well(self) -> bool:
        """Whether the file begins like this format, as far as it goes."""
        start = self._format.start
        return start.startswith(os.pread(self._descriptor, len(start), 0))

    def _heal(self) -> None:
        """Complete or remove what follows the last newline: half a line that a power cut left."""
        size = self._size()
        end = _after_last_newline(self._descriptor, size)
        if end == size:
            return
        if size - end <= _BLOCK and self._format.is_whole(os.pread(self._descriptor, size - end, end)):
            os.write(self._descriptor, b"\n")
            return
        os.ftruncate(self._descriptor, end)
        logger.warning("%s ended with half a line of %d bytes, which was removed.", self._target, size - end)

    def _follow_name(self) -> None:
        if self._descriptor >= 0 and self._name.leads_to(self._descriptor):
            return
        told = self._descriptor >= 0 and not self._rotating
        self._begin()
        if told:
            logger.warning("%s was moved or removed; a new file is begun.", self._name.path)

    def _begin(self) -> None:
        """Open the file, and remove those that are too many now."""
        self._open()
        self._rotating = False
        if self._options.rotation is not None:
            for old in takewhile(Path.exists, _chain(self._target, self._options.rotation.keep + 1)):
                old.unlink()

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _append(self, data: bytes) -> None:
        if not self._regular:
            self._send(data)
            return
        size = self._size()
        rest = memoryview(data if size else self._head + data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise

    def _send(self, data: bytes) -> None:
        """Write to a pipe or a device. The rest of a line of which a part went out comes before the next one."""
        rest = memoryview(self._torn + data)
        sent = len(self._torn) > 0
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                sent = True
            except BrokenPipeError:
                if self._target != STDOUT:
                    raise
                drop_stdout()  # whoever read it has gone, as `head` does; the other sinks have work to do
                os.dup2(sys.stdout.fileno(), self._descriptor)
                return
            except BlockingIOError:
                if not select.select([], [self._descriptor], [], _PATIENCE_S)[1]:
                    self._torn = bytes(rest) if sent else b""
                    raise OSError(errno.EAGAIN, f"nothing has read from it for {_PATIENCE_S:g} s") from None
        self._torn = b""

    def _rotate_before(self, more_bytes: int) -> None:
        rotation = self._options.rotation
        if rotation is None or not self._regular:
            return
        size = self._size()
        if size > len(self._head) and size + more_bytes > rotation.max_bytes:
            try:
                self._set_aside()
            except OSError as error:
                if not self._too_large:
                    logger.warning("%s cannot be renamed and grows beyond its size: %s.", self._target, error.strerror)
                self._too_large = True
                return
            self._too_large = False
            self._begin()

    def _set_aside(self) -> None:
        """FILE becomes FILE.1, FILE.1 becomes FILE.2, ...; the oldest of those to keep becomes one too many.

        Files move up to the first free name only. Where the new FILE cannot be made then, its own name stays free, so
        that another try moves nothing; and the oldest is removed last, when there is a new one.
        """
        keep = None if self._options.rotation is None else self._options.rotation.keep
        moving = list(takewhile(Path.exists, islice(_chain(self._target), None if keep is None else keep + 1)))
        for source, aim in reversed(list(zip(moving, _chain(self._target, 1), strict=False))):
            source.replace(aim)
        self._rotating = True


def _chain(path: Path, first: int = 0) -> Iterator[Path]:
    """FILE, FILE.1, FILE.2, ... from the `first` on, without names that belong to folders."""
    names = (path.name if number == 0 else f"{path.name}.{number}" for number in count(first))
    return (file for name in names if not (file := path.with_name(name)).is_dir())


def _after_last_newline(descriptor: int, size: int) -> int:
    """Where the last line of a file begins that has no newline yet; `size` where there is none such."""
    end = size
    while end > 0:
        start = max(end - _BLOCK, 0)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


Self = TypeVar("Self", bound="LineSink")


class LineSink:
    """Base of sinks that write lines into a file: `lines` says what a frame adds."""

    def __init__(self, path: Path, kind: str, line_format: LineFormat, options: LineOptions | None) -> None:
        self.path = path
        self.name = f"{kind} {path}"
        self._format, self._options = line_format, options or LineOptions()
        self._file: LineFile | None = None
        self._lost = 0

    @property
    def lost(self) -> int:
        """Results that were written and did not reach the disk."""
        return self._lost + (self._file.lost if self._file is not None else 0)

    def __enter__(self: Self) -> Self:
        """Open the file. Raises UsageError."""
        self._file = LineFile(self.path, self._format, self._options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._lost, self._file = self.lost, None

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Append what the frame adds. Raises OSError when it cannot be written."""
        assert self._file is not None, "enter the sink before writing"
        self._file.write(self.lines(result))

    def lines(self, result: FrameResult) -> str:
        """Whole lines, each with its newline; none where the frame adds nothing."""
        raise NotImplementedError
