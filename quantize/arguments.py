"""Types of the arguments that are quantize's own."""

import argparse

from fer_edge.arguments import quoted, whole_number

from quantize.recipes import TARGETS
from train.command_line import MOST_SEED


def target_name(text: str) -> str:
    """Name of a processor INT8 is built for."""
    if text not in TARGETS:
        raise argparse.ArgumentTypeError(f"target {quoted(text)} is unknown; there are: {', '.join(TARGETS)}")
    return text


def counts(text: str) -> tuple[int, ...]:
    """Numbers of faces, with commas between."""
    return _numbers(text, 1, 10**9)


def seeds(text: str) -> tuple[int, ...]:
    """Seeds, with commas between."""
    return _numbers(text, 0, MOST_SEED)


def _numbers(text: str, least: int, most: int) -> tuple[int, ...]:
    try:
        return tuple(map(whole_number(least, most), text.split(",")))
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected such numbers with commas between") from None
