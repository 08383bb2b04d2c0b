"""DISFA (Mavadati et al., 2013): the intensity of twelve action units in every frame of 27 people's videos.

`ActionUnit_Labels/SN001/SN001_au1.txt`, a line `frame,intensity` (0 to 5) a frame counted from 1; pictures either as
`Images/SN001/*.jpg` or `.png` in the order of the frames, or as `Videos_LeftCamera/LeftVideoSN001_comp.avi`.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fer_edge.errors import DataError
from fer_edge.sources.ffmpeg import open_capture

from train.data.annotated import ACTION_UNITS, AnnotatedFaces, split_by_subject
from train.data.readers.pictures import (
    FaceFinder,
    detected_face,
    face_in,
    in_order,
    number_in,
    read_picture,
    require_folder,
    text_of,
)

UNITS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
_GREATEST = 5
# A unit counts as there from this intensity on, as the field counts it.
_PRESENT = 2
_EVERY = 10


def read(root: Path, find_face: FaceFinder = detected_face) -> AnnotatedFaces:
    """Read every tenth frame in which a face is found. Raises DataError naming the file that does not fit."""
    notes = require_folder(root / "ActionUnit_Labels", "DISFA", "ActionUnit_Labels/SN001/SN001_au1.txt")
    people = sorted(path for path in notes.iterdir() if path.is_dir())
    if not people:
        raise DataError(f"{notes}: nobody. Expected a folder a person, such as SN001.")
    images, rows, subjects = [], [], []
    for number, person in enumerate(tqdm(people, desc="reading DISFA")):
        intensities = _intensities(person)
        for frame, image in _frames(root, person.name, len(intensities)):
            box = find_face(image)
            if box is not None:
                images.append(face_in(image, box))
                rows.append(intensities[frame])
                subjects.append(number)
    if not images:
        raise DataError(f"{root}: no face was found in any frame.")
    who, levels = np.array(subjects), np.stack(rows)
    truths = {"action-units": as_units(levels >= _PRESENT, UNITS), "smile-intensity": _smiles(levels)}
    return AnnotatedFaces("DISFA", np.stack(images), split_by_subject(who), who, truths)


def as_units(present: NDArray[np.bool_], units: tuple[int, ...]) -> NDArray[np.float32]:
    """Columns of ACTION_UNITS from those of `units`; NaN for units that were not looked for."""
    table = np.full((len(present), len(ACTION_UNITS)), np.nan, dtype=np.float32)
    for column, unit in enumerate(units):
        table[:, ACTION_UNITS.index(f"AU{unit}")] = present[:, column]
    return table


def _smiles(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lip corner puller's intensity as a fraction of its greatest."""
    return levels[:, [UNITS.index(12)]] / _GREATEST


def _intensities(person: Path) -> NDArray[np.float32]:
    """(frames, units)."""
    columns = [_column(person / f"{person.name}_au{unit}.txt") for unit in UNITS]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise DataError(f"{person}: its units have {min(lengths)} to {max(lengths)} frames; expected the same of all.")
    return np.array(columns, dtype=np.float32).T


def _column(path: Path) -> list[float]:
    if not path.is_file():
        raise DataError(f"{path}: not found. Is the dataset complete?")
    values = []
    for number, line in enumerate(text_of(path).split(), start=1):
        frame, _, level = line.partition(",")
        if frame != str(number):
            raise DataError(f"{path}: frame {frame!r} where {number} is due; expected frame,intensity.")
        values.append(number_in(level, 0, _GREATEST, f"{path}, frame {number}"))
    return values


def _frames(root: Path, person: str, count: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Every tenth frame, counted from 0, as grey."""
    folder, video = root / "Images" / person, root / "Videos_LeftCamera" / f"LeftVideo{person}_comp.avi"
    if folder.is_dir():
        pictures = in_order(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        if len(pictures) != count:
            raise DataError(f"{folder}: {len(pictures)} pictures for {count} annotated frames.")
        yield from ((frame, read_picture(pictures[frame])) for frame in range(0, count, _EVERY))
        return
    if not video.is_file():
        raise DataError(f"{root}: no pictures of {person}. Expected {folder} or {video}.")
    reader = open_capture(video, str(video))
    try:
        for frame in range(count):
            whole, image = reader.read()
            if not whole:
                raise DataError(f"{video}: ends after {frame} of {count} annotated frames.")
            if frame % _EVERY == 0:
                yield frame, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    finally:
        reader.release()
