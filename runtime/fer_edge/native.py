"""Paths and texts for code that is not Python's: OpenCV, FFMPEG, onnxruntime.

Python keeps a byte of a file name that is no UTF-8 as half of a surrogate pair. OpenCV dies of such a text with a
segmentation fault, onnxruntime raises TypeError. Every path and text that is handed to either goes through here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import FerEdgeError, UsageError

_DESCRIPTORS = Path("/proc/self/fd")


def native_text(text: str, what: str, error: type[FerEdgeError] = UsageError) -> str:
    """`text`, where native code can take it: UTF-8 without a NUL. Raises `error`; `what` names the text."""
    if "\0" in text or not _is_utf8(text):
        raise error(f"{what} holds a NUL or a byte that is not UTF-8. Write it in UTF-8, in an address as %XX.")
    return text


@contextmanager
def native_path(path: Path, error: type[FerEdgeError] = UsageError) -> Iterator[str]:
    """A name of the file `path` for native code to open inside the block.

    Where the name holds a byte that is not UTF-8 (a Latin-1 e with an accent, of an old camera or FAT stick), it is
    Linux's other name for it: through the descriptor of its folder, or its own where the file's name itself is the
    trouble; then it has to exist. The name is absolute, because FFMPEG takes a relative one with a colon in it for the
    address of a protocol. Raises `error` where there is no such name.
    """
    absolute = path.absolute()
    if "\0" in str(path):
        raise error(f"{path}: a NUL cannot be part of a file's name.")
    if _is_utf8(str(absolute)):
        yield str(absolute)
        return
    by_folder = _is_utf8(absolute.name)
    try:
        descriptor = os.open(absolute.parent if by_folder else absolute, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise error(f"{path}: cannot be opened ({problem.strerror}).") from None
    try:
        alias = _DESCRIPTORS / str(descriptor)
        if not alias.exists():
            raise error(f"{path}: its name is not UTF-8, which cannot be opened here. Rename it.")
        yield str(alias / absolute.name if by_folder else alias)
    finally:
        os.close(descriptor)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
