"""Reading only what is a file of a size to be expected, and writing so that nothing half-written is ever seen."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.redaction import redacted

# More than any classifier of faces, less than what would put a small board out of memory for a mistaken name.
MODEL_BYTES = 1 << 29
# Seconds of results that a power cut may cost. Linux writes by itself about as often what has been waiting, so this
# costs a memory card next to no further writing.
DEFAULT_FSYNC_S = 30.0


@contextmanager
def open_regular(path: Path, error: type[FerEdgeError]) -> Iterator[BinaryIO]:
    """Open a file for reading, never waiting: a named pipe, a device or a folder is refused. Raises `error`."""
    try:
        # Without O_NONBLOCK, opening a named pipe waits for its writer, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        raise error(f"{redacted(str(path))}: cannot be read ({_reason(problem)}).") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise error(f"{path}: {_kind(mode)}, expected a file.")
    with open(descriptor, "rb") as stream:
        yield stream


def read_bytes(path: Path, error: type[FerEdgeError], *, limit_bytes: int) -> bytes:
    """The contents of a file of at most `limit_bytes`. Raises `error`."""
    with open_regular(path, error) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes > limit_bytes:
            raise error(f"{path}: {_size(size_bytes)}, expected {_size(limit_bytes)} at most.")
        try:
            return stream.read(limit_bytes)
        except OSError as problem:
            raise error(f"{path}: cannot be read ({_reason(problem)}).") from None


def _reason(problem: OSError | ValueError) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((words for is_kind, words in kinds if is_kind(mode)), "a device")


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 10_000 or unit == "GB":
            break
        count = round(count / 1024)
    return f"{count} {unit}"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block succeeds, remove it when it fails.

    Behind a symbolic link the target is replaced and the link stays. A device or a pipe is yielded itself. The file is
    on the disk before it gets its name, so a power cut leaves the old one or the new one. Raises UsageError where the
    folder cannot be written.
    """
    if not path.name or path.is_dir():
        raise UsageError(f"cannot write '{path}': it names a folder. Give the name of a file.")
    if path.exists() and not path.is_file():
        yield path
        return
    target = Path(os.path.realpath(path))
    # Hashed, because a long name with something added may be too long for a name.
    temporary = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}. Choose a folder you may write to.") from None
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to synchronise
            raise
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
