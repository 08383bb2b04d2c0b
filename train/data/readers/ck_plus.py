"""CK+ (Lucey et al., 2010): sequences from a neutral face to a posed expression at its peak.

`cohn-kanade-images/S005/001/S005_001_00000001.png`, and for the last picture of a sequence
`Landmarks/.../..._landmarks.txt`, `FACS/.../..._facs.txt` (a unit and its intensity a line) and, of some sequences,
`Emotion/.../..._emotion.txt`. The first picture of a sequence is neutral, with no unit.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.errors import DataError
from fer_edge.tasks import FER_PLUS

from train.data.annotated import ACTION_UNITS, AnnotatedFaces, split_by_subject
from train.data.fer2013 import EXPRESSIONS
from train.data.readers.pictures import box_of_landmarks, face_in, number_in, read_picture, require_folder, text_of

_EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
_AS_FER2013 = {"anger": "angry", "happiness": "happy", "sadness": "sad", "contempt": ""}


def read(root: Path) -> AnnotatedFaces:
    """Read the first and last picture of every sequence. Raises DataError naming the file that does not fit."""
    pictures = require_folder(root / "cohn-kanade-images", "CK+", "cohn-kanade-images/S005/001/")
    sequences = sorted(path for path in pictures.glob("S*/*") if any(path.glob("*.png")))
    if not sequences:
        raise DataError(f"{pictures}: no sequences. Expected S005/001/S005_001_00000001.png.")
    images, units, emotions, people = [], [], [], []
    for sequence in tqdm(sequences, desc="reading CK+"):
        first, *_, last = _pictures(sequence)
        present = _units(_note(root, "FACS", last, "facs"))
        emotion = _emotion(_note(root, "Emotion", last, "emotion"))
        for picture, here, named in ((first, np.zeros_like(present), "neutral"), (last, present, emotion)):
            images.append(_face(root, picture))
            units.append(here)
            emotions.append(named)
            people.append(_subject(sequence.parent))
    subjects = np.array(people)
    return AnnotatedFaces(
        "CK+",
        np.stack(images),
        split_by_subject(subjects),
        subjects,
        {
            "action-units": np.stack(units),
            "expression7": np.array([_index(EXPRESSIONS, _AS_FER2013.get(name, name)) for name in emotions]),
            "expression8": np.array([_index(FER_PLUS, name) for name in emotions]),
        },
    )


def _pictures(sequence: Path) -> list[Path]:
    pictures = sorted(sequence.glob("*.png"))
    if len(pictures) < 2:
        raise DataError(f"{sequence}: one picture; expected a neutral face first and a posed one last.")
    return pictures


def _subject(folder: Path) -> int:
    if not folder.name[1:].isdigit():
        raise DataError(f"{folder}: expected a person's folder, such as S005.")
    return int(folder.name[1:])


def _index(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else -1


def _note(root: Path, kind: str, picture: Path, suffix: str) -> Path:
    """The file of `kind` that speaks of a picture."""
    return root / kind / picture.parent.parent.name / picture.parent.name / f"{picture.stem}_{suffix}.txt"


def _face(root: Path, picture: Path) -> np.ndarray:
    path = _note(root, "Landmarks", picture, "landmarks")
    points = np.array([_numbers(line, path) for line in _lines(path, required=True)])
    return face_in(read_picture(picture), box_of_landmarks(points, str(path)), str(path))


def _units(path: Path) -> np.ndarray:
    """1 for every unit the coder saw, 0 for the others, (units,)."""
    present = np.zeros(len(ACTION_UNITS), dtype=np.float32)
    for line in _lines(path, required=True):
        unit, intensity = _numbers(line, path)
        number_in(str(unit), 1, 99, f"{path}: unit")
        number_in(str(intensity), 0, 5, f"{path}: intensity")
        if f"AU{int(unit)}" in ACTION_UNITS:
            present[ACTION_UNITS.index(f"AU{int(unit)}")] = 1
    return present


def _emotion(path: Path) -> str:
    """The name of the sequence's emotion, empty where none was given."""
    lines = _lines(path, required=False)
    if not lines:
        return ""
    return _EMOTIONS[int(number_in(lines[0].strip(), 0, len(_EMOTIONS) - 1, str(path)))]


def _lines(path: Path, *, required: bool) -> list[str]:
    if not path.is_file():
        if required:
            raise DataError(f"{path}: not found. Is the dataset complete?")
        return []
    return [line for line in text_of(path).splitlines() if line.strip()]


def _numbers(line: str, path: Path) -> list[float]:
    try:
        first, second = (float(part) for part in line.split())
    except ValueError:
        raise DataError(f"{path}: {line.strip()!r}, expected two numbers a line.") from None
    return [first, second]
