"""Aff-Wild2 (Kollias and Zafeiriou, 2019): valence and arousal of every frame of videos from the web.

`annotations/Train_Set/VIDEO.txt` and `Validation_Set/VIDEO.txt`, a line `valence,arousal` a frame, -5 where the frame
could not be rated; pictures as `cropped_aligned/VIDEO/00001.jpg`, counted from 1, absent where no face was found.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.errors import DataError

from train.data.annotated import AnnotatedFaces
from train.data.fer2013 import SPLITS
from train.data.readers.pictures import face_in, number_in, read_picture, require_folder, text_of

_SPLIT_OF = {"Train_Set": "Training", "Validation_Set": "PublicTest"}
_NOT_RATED = -5
# Neighbouring frames of a video are nearly one picture.
_EVERY = 10


def read(root: Path) -> AnnotatedFaces:
    """Read every tenth frame of all videos. Raises DataError naming the file and line that does not fit."""
    notes = require_folder(root / "annotations", "Aff-Wild2", "annotations/Train_Set and annotations/Validation_Set")
    files = [(split, path) for split in _SPLIT_OF for path in sorted((notes / split).glob("*.txt"))]
    if not files:
        raise DataError(f"{notes}: no annotations. Expected Train_Set/VIDEO.txt and Validation_Set/VIDEO.txt.")
    images, affect, usage, videos = [], [], [], []
    for number, (split, path) in enumerate(tqdm(files, desc="reading Aff-Wild2")):
        for frame, values in enumerate(_values(path), start=1):
            picture = root / "cropped_aligned" / path.stem / f"{frame:05d}.jpg"
            if (frame - 1) % _EVERY or _NOT_RATED in values or not picture.is_file():
                continue
            images.append(face_in(read_picture(picture)))
            affect.append(values)
            usage.append(SPLITS.index(_SPLIT_OF[split]))
            videos.append(number)
    if not images:
        raise DataError(f"{root}: none of the annotated frames is in cropped_aligned/VIDEO/00001.jpg and so on.")
    truths = {"valence-arousal": np.array(affect, dtype=np.float32)}
    return AnnotatedFaces("Aff-Wild2", np.stack(images), np.array(usage), np.array(videos), truths)


def _values(path: Path) -> list[tuple[float, ...]]:
    lines = text_of(path).rstrip().splitlines()
    if not lines or lines[0].replace(" ", "").lower() != "valence,arousal":
        raise DataError(f"{path}: begins with {lines[0] if lines else ''!r}, expected the heading valence,arousal.")
    return [_pair(line, f"{path}, line {number}") for number, line in enumerate(lines[1:], start=2)]


def _pair(line: str, where: str) -> tuple[float, ...]:
    parts = line.split(",")
    if len(parts) != 2:
        raise DataError(f"{where}: {line!r}, expected valence,arousal.")
    values = tuple(number_in(part, _NOT_RATED, 1, where) for part in parts)
    if any(_NOT_RATED < value < -1 for value in values):
        raise DataError(f"{where}: {line!r}, expected -1 to 1, or -5 for a frame that was not rated.")
    return values
