"""BP4D (Zhang et al., 2014): action units of 41 people in eight tasks each.

`AUCoding/AU_OCC/F001_T1.csv`, whose first row has the numbers of the units and each later row a frame and 0, 1 or 9
(unknown) for each; `AUCoding/AU_INT/AU12/F001_T1_AU12.csv` with frame and intensity (0 to 5, 9 unknown) where it was
coded; pictures as `2D/F001/T1/0001.jpg`.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.errors import DataError

from train.data.annotated import ACTION_UNITS, AnnotatedFaces, split_by_subject
from train.data.readers.pictures import (
    FaceFinder,
    detected_face,
    face_in,
    number_in,
    read_picture,
    require_folder,
    rows_of,
)

_UNKNOWN = 9
_GREATEST = 5
_EVERY = 10


def read(root: Path, find_face: FaceFinder = detected_face) -> AnnotatedFaces:
    """Read every tenth coded frame in which a face is found. Raises DataError naming the file that does not fit."""
    notes = require_folder(root / "AUCoding" / "AU_OCC", "BP4D", "AUCoding/AU_OCC/F001_T1.csv")
    tables = sorted(notes.glob("*_*.csv"))
    if not tables:
        raise DataError(f"{notes}: no tables. Expected F001_T1.csv.")
    images, units, smiles, people = [], [], [], []
    for path in tqdm(tables, desc="reading BP4D"):
        person, _, task = path.stem.partition("_")
        intensity = _smile_intensities(root / "AUCoding" / "AU_INT" / "AU12" / f"{path.stem}_AU12.csv")
        for frame, row in list(_occurrences(path).items())[::_EVERY]:
            image = read_picture(_picture(root / "2D" / person / task, frame))
            box = find_face(image)
            if box is not None:
                images.append(face_in(image, box))
                units.append(row)
                smiles.append([intensity.get(frame, np.nan)])
                people.append(person)
    if not images:
        raise DataError(f"{root}: no face was found in any coded frame.")
    numbers = {person: number for number, person in enumerate(sorted(set(people)))}
    subjects = np.array([numbers[person] for person in people])
    truths = {"action-units": np.stack(units), "smile-intensity": np.array(smiles, dtype=np.float32)}
    return AnnotatedFaces("BP4D", np.stack(images), split_by_subject(subjects), subjects, truths)


def _picture(folder: Path, frame: int) -> Path:
    """The picture of a frame; some copies count with three digits, others with four."""
    names = [folder / f"{frame:0{digits}d}.jpg" for digits in (4, 3)]
    return next((path for path in names if path.is_file()), names[0])


def _occurrences(path: Path) -> dict[int, np.ndarray]:
    """Of every frame, 1, 0 or NaN for each of ACTION_UNITS."""
    head, *rows = rows_of(path) or [[]]
    places = {column: f"AU{text.strip()}" for column, text in enumerate(head) if column > 0}
    if not any(unit in ACTION_UNITS for unit in places.values()):
        raise DataError(f"{path}: begins with {','.join(head)[:40]!r}, expected the numbers of the action units.")
    table = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, row {number}"
        if len(row) != len(head):
            raise DataError(f"{where}: {len(row)} columns, expected {len(head)}. Is the row cut off?")
        values = np.full(len(ACTION_UNITS), np.nan, dtype=np.float32)
        for column, unit in places.items():
            code = number_in(row[column], 0, _UNKNOWN, where)
            if code not in (0, 1, _UNKNOWN):
                raise DataError(f"{where}: {unit} is {code:g}, expected 0, 1 or 9.")
            if unit in ACTION_UNITS and code != _UNKNOWN:
                values[ACTION_UNITS.index(unit)] = code
        table[int(number_in(row[0], 0, 1e6, f"{where}: frame"))] = values
    return table


def _smile_intensities(path: Path) -> dict[int, float]:
    """Of every coded frame, the lip corner puller's intensity as a fraction of its greatest; empty without the file."""
    if not path.is_file():
        return {}
    smiles = {}
    for number, row in enumerate(rows_of(path), start=1):
        where = f"{path}, row {number}"
        if len(row) != 2:
            raise DataError(f"{where}: {len(row)} columns, expected frame and intensity.")
        level = number_in(row[1], 0, _UNKNOWN, where)
        if _GREATEST < level < _UNKNOWN:
            raise DataError(f"{where}: intensity {level:g}, expected 0 to 5, or 9 for unknown.")
        if level != _UNKNOWN:
            smiles[int(number_in(row[0], 0, 1e6, where))] = level / _GREATEST
    return smiles
