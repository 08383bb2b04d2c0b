"""Pictures of a dataset as the grey 48x48 faces everything here is trained on, and the errors its files can have."""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import DataError, SourceError
from fer_edge.frames import Box
from fer_edge.picture_file import read_image
from fer_edge.picture_header import PictureLimit

from train.data.fer2013 import SIDE_PX

# What datasets hold was taken by cameras, and a workstation has the memory.
WORKSTATION_LIMIT = PictureLimit(60.0)
# From a box around 68 landmarks (brow to chin) to FER2013's own framing, which has some forehead.
_LANDMARK_MARGIN = 0.1
_NUMBER = re.compile(r"([0-9]+)")
FaceFinder = Callable[[NDArray[np.uint8]], Box | None]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture as grey (h, w) uint8. Raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: not found. Is the dataset complete?")
    try:
        return read_image(path, grey=True, limit=WORKSTATION_LIMIT)
    except SourceError as error:
        raise DataError(f"{error} Is the dataset complete?") from None


def face_in(image: NDArray[np.uint8], box: Box | None = None, where: str = "") -> NDArray[np.uint8]:
    """The face (48, 48) uint8 of a grey picture (h, w) uint8: its box, squared, or the whole picture.

    Raises DataError, naming `where`, for a box that has no part of the picture.
    """
    if box is not None:
        height, width = image.shape
        right, bottom = box.left_px + box.width_px, box.top_px + box.height_px
        beside = box.left_px >= width or box.top_px >= height or right <= 0 or bottom <= 0
        if min(box.width_px, box.height_px) <= 0 or beside:
            found = f"{box.width_px:g}x{box.height_px:g} at {box.left_px:g}, {box.top_px:g}"
            raise DataError(f"{where}: a box of {found} has no part of the picture of {width}x{height}.")
        side = max(box.width_px, box.height_px)
        left, top = box.left_px + (box.width_px - side) / 2, box.top_px + (box.height_px - side) / 2
        image = _cut(image, round(left), round(top), max(round(side), 1))
    return np.asarray(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _cut(image: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """A square of the picture; what lies outside repeats its edge."""
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)]


def box_of_landmarks(points: NDArray[np.floating], where: str) -> Box:
    """The face around landmarks (68, 2) in pixels. Raises DataError, naming `where`, for another number of them."""
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise DataError(f"{where}: landmarks of shape {points.shape}, expected 68 points of x and y.")
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right <= left or bottom <= top:
        raise DataError(f"{where}: its landmarks have no extent; expected those of a face.")
    spread = _LANDMARK_MARGIN * max(right - left, bottom - top)
    return Box(left - spread, top - 2 * spread, right - left + 2 * spread, bottom - top + 3 * spread)


def detected_face(image: NDArray[np.uint8]) -> Box | None:
    """The largest face the runtime's own detector finds in a grey picture (h, w); None where it finds none."""
    found = _detector().detect(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
    return max(found, key=lambda one: one.box.width_px * one.box.height_px).box if found else None


def _detector() -> Any:
    global _DETECTOR
    if _DETECTOR is None:
        from fer_edge.detectors import open_detector

        _DETECTOR = open_detector("mediapipe")
    return _DETECTOR


_DETECTOR: Any = None


def require_folder(path: Path, dataset: str, expected: str) -> Path:
    """`path`, where it is a folder. Raises DataError saying what the dataset's layout has there."""
    if not path.is_dir():
        raise DataError(f"{path}: not found. {dataset} has {expected}.")
    return path


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files by the numbers in their names: 2.jpg before 10.jpg."""
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in _NUMBER.split(path.name)])


def text_of(path: Path) -> str:
    """A text file whole. Raises DataError where it is not there or no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable text file ({error}). Is the dataset complete?") from None


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a CSV file. Raises DataError where it is not there or no CSV."""
    try:
        return list(csv.reader(text_of(path).splitlines()))
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error}). Is the dataset complete?") from None


def number_in(text: str, low: float, high: float, where: str) -> float:
    """A number between `low` and `high`. Raises DataError naming `where`."""
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} is not a number.") from None
    if not low <= value <= high:
        raise DataError(f"{where}: {value:g}, expected {low:g} to {high:g}.")
    return value
