"""The parser of command lines and the types of its arguments, with errors that say what was expected.

No error shows a secret: a password may stand in any word of a command line that was typed wrongly.
"""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fer_edge.redaction import HIDDEN, quoted, redacted
from fer_edge.regions import Region
from fer_edge.tables import unprintable

ON_MOTION = 0
_RANGES = ("near", "far", "auto")
STDOUT = Path("/dev/stdout")
_MOST = 10**9
_MOST_SECONDS = 86_400
_WHOLE = re.compile(r"[0-9]{1,10}", re.ASCII)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        # Not isdigit(): it is true of superscripts and of digits of other scripts, too.
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """A parser of numbers from `low` to `high`."""

    def parse(text: str) -> float:
        value = _number(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from {low:.15g} to {high:.15g}")
        return value

    return parse


positive = whole_number(1, _MOST)
whole = whole_number(0, _MOST)
seconds = number(0.01, _MOST_SECONDS)
sync_period = number(0, _MOST_SECONDS)
picture_side = whole_number(1, 10_000)

_FLAG = re.compile(r"--[a-z][a-z-]*|-[a-z]")
_SHORTEST_SECRET = 3


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, with errors that hide what may be a secret."""

    _words: Sequence[str] = ()

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse `args`; a mistake ends the program with exit code 2."""
        self._words = list(args or ())
        found, unknown = self.parse_known_intermixed_args(args, namespace)
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
    if not re.fullmatch("[0-9]{1,4}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a camera number such as 0; use --source for all else")
    return int(text)


def rotation(text: str) -> int:
    """Degrees by which a picture is turned clockwise."""
    if text not in ("0", "90", "180", "270"):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is none of 0, 90, 180 and 270 degrees")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from 0 to 1")
    return value


def detect_when(text: str) -> int:
    """How often the detector runs: each N-th frame, or ON_MOTION for `on-motion`."""
    if text == "on-motion":
        return ON_MOTION
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is neither a number of frames such as 5 nor on-motion")
    return int(text)


def looking_range(text: str) -> str | int:
    """How far the detector looks: a name of the ranges, or the longer side of its canvas in pixels."""
    if text in _RANGES:
        return text
    if not _WHOLE.fullmatch(text) or not 64 <= int(text) <= 1024 or int(text) % 32:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is none of {', '.join(_RANGES)} and no multiple of 32 from 64 to 1024"
        )
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
    """The path of a file. A leading ~ is the home folder: in a file and behind = no shell has seen it."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is an address, expected the name of a file")
    if "\0" in text:
        raise argparse.ArgumentTypeError("the name of a file cannot hold a NUL")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0]
        raise argparse.ArgumentTypeError(
            f"{quoted(text)}: there is no home folder {user}; write the path in full, or ./{user} for a name like that"
        ) from None


def output_file(text: str) -> Path:
    """The path of a file to write; `-` is standard output."""
    return STDOUT if text == "-" else file_path(text)


def source_address(text: str) -> str:
    """Parse --source: `file_path` for a path that begins with ~, any other text as it is."""
    if "\0" in text:
        raise argparse.ArgumentTypeError("a source cannot hold a NUL")
    return str(file_path(text)) if text.startswith("~") else text


def plain_text(text: str) -> str:
    """An address, topic or token. It may be a secret, so the error does not show it."""
    if reason := unprintable(text):
        raise argparse.ArgumentTypeError(f"it holds {reason}")
    return text


def _number(text: str) -> float:
    """The number in `text`, or NaN, which no range contains."""
    try:
        return float(text)
    except ValueError:
        return math.nan
