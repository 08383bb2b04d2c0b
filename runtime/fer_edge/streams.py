"""Standard input, output and error: always there, and able to print any text in any encoding."""

import os
import sys
import unicodedata
from typing import TextIO

_NAMES = ("stdin", "stdout", "stderr")


def ensure_standard_streams() -> None:
    """Open the standard streams that a supervisor left closed, onto nothing; escape what an encoding lacks.

    Call it before any file is opened: the next one would take the place of a closed standard stream, and whatever a
    native library prints would land in it.
    """
    for descriptor in range(len(_NAMES)):
        _occupy(descriptor)
    for descriptor, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            stream = open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        escape_unencodable(output)


def escape_unencodable(stream: TextIO) -> None:
    """Print \\xf6 for an ö where the stream's encoding has none, in place of raising UnicodeEncodeError."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Send standard output nowhere, after a BrokenPipeError: whoever read it has gone, as `head` does."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def printable(text: str) -> str:
    """`text` for a line of a terminal or log: control characters and bytes that were no UTF-8 are escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def width_of(text: str) -> int:
    """The columns of a terminal that `text` takes: two for a character of East Asian width, none for an accent."""
    return sum(map(_columns, text))


def cut_to_width(text: str, columns: int) -> str:
    """As much of `text` as `columns` of a terminal hold."""
    used = 0
    for place, char in enumerate(text):
        used += _columns(char)
        if used > columns:
            return text[:place]
    return text


def right_aligned(text: str, columns: int) -> str:
    """`text` with spaces before it, so that it ends in column `columns`."""
    return " " * (columns - width_of(text)) + text


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escaped(char: str) -> str:
    # How Python keeps a byte of a file name that is no UTF-8.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "backslashreplace").decode()


def _occupy(descriptor: int) -> None:
    """Open the null device as `descriptor` where that is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
