"""Types of command-line arguments, with errors that say what was expected."""

import argparse
from pathlib import Path

from fer_edge.regions import Region

ON_MOTION = 0


def camera_index(text: str) -> int:
    """A camera's number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a camera number such as 0; use --source for anything else")
    return int(text)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def above_zero(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def detect_when(text: str) -> int:
    """How often the detector runs: each N-th frame, or ON_MOTION for `on-motion`."""
    if text == "on-motion":
        return ON_MOTION
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of frames such as 5 nor on-motion")
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
            f"{text!r} is not a region: expected left,top,right,bottom or x,y,x,y,x,y,... in fractions of the picture"
        )
    return Region(tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def file_path(text: str) -> Path:
    """The path of a file; an empty one names nothing."""
    return Path(text)


def _number(text: str) -> float:
    """The number in `text`, or NaN, which no range contains."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
