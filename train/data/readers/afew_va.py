"""AFEW-VA (Kossaifi et al., 2017): valence and arousal of every frame of 600 clips from films.

One folder a clip, `001/001.json` with `frames`, each with 68 landmarks and values from -10 to 10, beside `00000.png`.
"""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fer_edge.errors import DataError

from train.data.annotated import AnnotatedFaces, split_by_subject
from train.data.readers.pictures import box_of_landmarks, face_in, number_in, read_picture, text_of

_GREATEST = 10


def read(root: Path) -> AnnotatedFaces:
    """Read all clips; actors never straddle the splits. Raises DataError naming clip and frame that do not fit."""
    clips = sorted(path for path in root.rglob("*.json") if path.stem == path.parent.name)
    if not clips:
        raise DataError(f"{root}: no AFEW-VA. Expected a folder a clip, such as 001/001.json with 001/00000.png.")
    images, affect, actors = [], [], []
    for clip in tqdm(clips, desc="reading AFEW-VA"):
        actor, frames = _clip(clip)
        for name, frame in frames.items():
            where = f"{clip}, frame {name}"
            box = box_of_landmarks(_points(frame, where), where)
            images.append(face_in(read_picture(clip.parent / f"{name}.png"), box, where))
            affect.append([_value(frame, key, where) / _GREATEST for key in ("valence", "arousal")])
            actors.append(actor)
    numbers = {actor: number for number, actor in enumerate(sorted(set(actors)))}
    subjects = np.array([numbers[actor] for actor in actors])
    truths = {"valence-arousal": np.array(affect, dtype=np.float32)}
    return AnnotatedFaces("AFEW-VA", np.stack(images), split_by_subject(subjects), subjects, truths)


def _clip(path: Path) -> tuple[str, dict]:
    try:
        table = json.loads(text_of(path))
        frames = table["frames"]
        actor = str(table.get("actor", path.stem))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not an annotation of AFEW-VA ({type(error).__name__}: {error}).") from None
    if not isinstance(frames, dict) or not frames:
        raise DataError(f"{path}: no frames.")
    return actor, frames


def _points(frame: object, where: str) -> np.ndarray:
    try:
        return np.asarray(frame["landmarks"], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{where}: no landmarks; expected 68 points of x and y.") from None


def _value(frame: dict, key: str, where: str) -> float:
    return number_in(str(frame.get(key)), -_GREATEST, _GREATEST, f"{where}: {key}")
