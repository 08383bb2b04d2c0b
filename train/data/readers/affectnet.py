"""AffectNet (Mollahosseini et al., 2019): expression, valence and arousal of pictures from the web.

Two layouts: `training.csv` and `validation.csv` beside the pictures they name, with the face's box; or `train_set` and
`val_set`, with `images/N.jpg` already cropped and `annotations/N_exp.npy`, `N_val.npy`, `N_aro.npy`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.errors import DataError
from fer_edge.frames import Box
from fer_edge.tasks import FER_PLUS

from train.data.annotated import AnnotatedFaces
from train.data.fer2013 import EXPRESSIONS, SPLITS
from train.data.readers.pictures import face_in, number_in, read_picture, rows_of

_EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
_AS_FER_PLUS = {"happy": "happiness", "sad": "sadness", "angry": "anger"}
_HIGHEST_CODE = 10  # 8 none, 9 uncertain, 10 no face
_NOT_RATED = -2
_BOX = ("face_x", "face_y", "face_width", "face_height")
_COLUMNS = {"subDirectory_filePath", *_BOX, "expression", "valence", "arousal"}
_SPLIT_OF = {"training": "Training", "validation": "PublicTest", "train_set": "Training", "val_set": "PublicTest"}


@dataclass(frozen=True)
class _Entry:
    picture: Path
    box: Box | None
    expression: int
    valence: float
    arousal: float
    split: str


def read(root: Path) -> AnnotatedFaces:
    """Read either layout. Raises DataError naming the file and row that does not fit."""
    entries = list(_from_tables(root)) or list(_from_folders(root))
    if not entries:
        raise DataError(f"{root}: no AffectNet. Expected training.csv and validation.csv, or train_set/ and val_set/.")
    shown = tqdm(entries, desc="reading AffectNet")
    images = [face_in(read_picture(entry.picture), entry.box, str(entry.picture)) for entry in shown]
    codes = np.array([entry.expression for entry in entries])
    affect = np.array([(entry.valence, entry.arousal) for entry in entries], dtype=np.float32)
    affect[(affect == _NOT_RATED).any(axis=1)] = np.nan
    return AnnotatedFaces(
        "AffectNet",
        np.stack(images),
        np.array([SPLITS.index(entry.split) for entry in entries]),
        np.arange(len(entries)),
        {
            "valence-arousal": affect,
            "expression7": _renumbered(codes, {name: EXPRESSIONS.index(name) for name in _EXPRESSIONS[:7]}),
            "expression8": _renumbered(
                codes, {name: FER_PLUS.index(_AS_FER_PLUS.get(name, name)) for name in _EXPRESSIONS}
            ),
        },
    )


def _renumbered(codes: np.ndarray, numbers: dict[str, int]) -> np.ndarray:
    table = np.full(_HIGHEST_CODE + 1, -1, dtype=np.int64)
    for name, number in numbers.items():
        table[_EXPRESSIONS.index(name)] = number
    return table[codes]


def _from_tables(root: Path) -> Iterator[_Entry]:
    for name in ("training", "validation"):
        path = root / f"{name}.csv"
        if not path.is_file():
            continue
        head, *rows = rows_of(path) or [[]]
        missing = _COLUMNS - set(head)
        if missing:
            raise DataError(f"{path}: expected AffectNet's columns, missing {', '.join(sorted(missing))}.")
        for number, cells in enumerate(rows, start=2):
            where = f"{path}, row {number}"
            if len(cells) != len(head):
                raise DataError(f"{where}: {len(cells)} columns, expected {len(head)}. Is the row cut off?")
            row = dict(zip(head, cells, strict=True))
            if not row["subDirectory_filePath"]:
                raise DataError(f"{where}: names no picture. Is the file whole?")
            sides = [number_in(row[column] or "", 0, 1e5, where) for column in _BOX]
            yield _entry(root / row["subDirectory_filePath"], Box(*sides), row, _SPLIT_OF[name], where)


def _from_folders(root: Path) -> Iterator[_Entry]:
    for name in ("train_set", "val_set"):
        for picture in sorted((root / name / "images").glob("*.jpg")):
            notes = root / name / "annotations"
            row = {
                word: str(_stored(notes / f"{picture.stem}_{word[:3]}.npy"))
                for word in ("expression", "valence", "arousal")
            }
            yield _entry(picture, None, row, _SPLIT_OF[name], str(picture))


def _stored(path: Path) -> object:
    try:
        return np.load(path).item()
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path}: no annotation ({error}). Is the dataset complete?") from None


def _entry(picture: Path, box: Box | None, row: dict[str, str], split: str, where: str) -> _Entry:
    code = number_in(row["expression"] or "", 0, _HIGHEST_CODE, f"{where}: expression")
    words = ("valence", "arousal")
    valence, arousal = (number_in(row[word] or "", _NOT_RATED, 1, f"{where}: {word}") for word in words)
    if code != int(code):
        raise DataError(f"{where}: expression {code:g}, expected a whole number.")
    if any(_NOT_RATED < value < -1 for value in (valence, arousal)):
        raise DataError(f"{where}: valence {valence:g}, arousal {arousal:g}; expected -1 to 1, or -2 where not rated.")
    return _Entry(picture, box, int(code), valence, arousal, split)
