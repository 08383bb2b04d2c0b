"""The parser of command lines and the types of its arguments, with errors that say what was expected.

No error shows a secret: a password may stand in any word of a command line that was typed wrongly.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from fer_edge.redaction import HIDDEN, quoted, redacted
from fer_edge.regions import Region

ON_MOTION = 0

_FLAG = re.compile(r"--[a-z][a-z-]*|-[a-z]")
_SHORTEST_SECRET = 3


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, with errors that hide what may be a secret."""

    _words: Sequence[str] = ()

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse `args`; a mistake ends the program with exit code 2."""
        self._words = list(args or ())
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(_flag_or_hidden(word) for word in unknown)}")
        return found

    def error(self, message: str) -> NoReturn:
        """Print usage and `message` without secrets, and exit with code 2."""
        words = {
            part for word in self._words for part in (word, word.partition("=")[2]) if len(part) >= _SHORTEST_SECRET
        }
        for word in sorted(words, key=len, reverse=True):
            if redacted(word) != word:
                message = message.replace(word, redacted(word)).replace(repr(word)[1:-1], redacted(word))
        # argparse's own words about --flag=VALUE, where VALUE is not expected.
        message = re.sub(r"(--?[a-z][a-z-]*)=\S+", rf"\1={HIDDEN}", message)
        message = re.sub(r"(?<=ignored explicit argument ).*", HIDDEN, message)
        super().error(message)


def _flag_or_hidden(word: str) -> str:
    """An argument that nobody expected: a mistyped flag is shown, what stands behind it may be a token."""
    flag, separator, _ = word.partition("=")
    return f"{flag}{separator}{HIDDEN if separator else ''}" if _FLAG.fullmatch(flag) else _existing_or_hidden(word)


def _existing_or_hidden(word: str) -> str:
    try:
        return word if Path(word).exists() else redacted(word) if "://" in word else HIDDEN
    except (OSError, ValueError):
        return HIDDEN


def camera_index(text: str) -> int:
    """A camera's number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a camera number such as 0; use --source for all else")
    return int(text)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number, 0 or more")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from 0 to 1")
    return value


def above_zero(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number above 0")
    return value


def detect_when(text: str) -> int:
    """How often the detector runs: each N-th frame, or ON_MOTION for `on-motion`."""
    if text == "on-motion":
        return ON_MOTION
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is neither a number of frames such as 5 nor on-motion")
    return int(text)


def region(text: str) -> Region:
    """A region of interest: left,top,right,bottom, or the corners x,y,x,y,x,y,... of a polygon; each from 0 to 1."""
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) == 4:
        left, top, right, bottom = numbers
        if left < right and top < bottom:
            numbers = [left, top, right, top, right, bottom, left, bottom]
    if len(numbers) < 6 or len(numbers) % 2 or not all(0 <= number <= 1 for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not a region: expected left,top,right,bottom or x,y,x,y,... in fractions of the picture"
        )
    return Region(tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def file_path(text: str) -> Path:
    """The path of a file; an empty one names nothing."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is an address, expected the name of a file")
    return Path(text)


def _number(text: str) -> float:
    """The number in `text`, or NaN, which no range contains."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
