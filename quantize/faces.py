"""Which faces calibrate and which ones judge: never the same."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import ModelContract
from fer_edge.errors import DataError, UsageError
from fer_edge.face_pictures import holds_pictures
from fer_edge.faces import LabelledFaces, ValuedFaces, load_faces, load_task_faces
from fer_edge.tasks import CLASSES, LABELS

DEFAULT_COUNT, DEFAULT_SEED = 512, 0
_CALIBRATION_SPLIT, _EVALUATION_SPLIT = "Training", "PublicTest"
# The smallest number the calibration curve was measured for: docs/quantization.md.
MIN_COUNT = 32


@dataclass(frozen=True)
class FaceSets:
    """Faces of any size: some to calibrate on, others, with the truth of its task, to judge on.

    The calibration faces are drawn from `training`, all there are to learn from. For a task of classes all have those
    classes in the model's order; for others training has the seven of the cache, to draw evenly from, and `evaluation`
    is None where the cache has no truth to judge by.
    """

    training: LabelledFaces
    calibration: LabelledFaces
    evaluation: LabelledFaces | ValuedFaces | None


@dataclass(frozen=True)
class Evaluation:
    """The images candidates are compared on, grey (n, h, w) or BGR (n, h, w, 3) uint8; `faces` is None where they are
    the golden inputs.
    """

    images: NDArray[np.uint8]
    faces: LabelledFaces | ValuedFaces | None


def open_faces(path: Path, contract: ModelContract, count: int | None, seed: int | None) -> FaceSets | None:
    """The faces at `path`; None where there are none.

    A face cache calibrates on `count` faces of Training and judges on PublicTest. A folder or CSV of pictures
    (`fer_edge.face_pictures`) is halved: one half calibrates (`count` of it, at most 512), the other judges. Raises
    DataError for faces that cannot be read, do not fit the model or are too few, UsageError for a senseless count or
    seed.
    """
    if not path.exists():
        return None
    seed = DEFAULT_SEED if seed is None else seed
    if seed < 0 or (count is not None and count < 1):
        raise UsageError(f"--count {count} --seed {seed}: expected a count above 0 and a seed of 0 or more.")
    if holds_pictures(path):
        spec = contract.input
        folder = load_task_faces(path, "all", contract.task, contract.labels, spec.size_px, colour=spec.channels == 3)
        assert isinstance(folder, LabelledFaces), "a folder has classes"
        return _halved(folder, path, count, seed)
    public = None
    # Of labels that hold together no cache has a truth that the gate could count.
    if contract.task_spec.kind != LABELS:
        public = _fitting(load_task_faces(path, _EVALUATION_SPLIT, contract.task, contract.labels), path)
    training = _fitting(_training(path, contract), path)
    return FaceSets(training, training.balanced(DEFAULT_COUNT if count is None else count, seed), public)


def _training(path: Path, contract: ModelContract) -> LabelledFaces:
    if contract.task_spec.kind == CLASSES:
        loaded = load_task_faces(path, _CALIBRATION_SPLIT, contract.task, contract.labels)
        assert isinstance(loaded, LabelledFaces), "a task of classes"
        return loaded
    return load_faces(path, _CALIBRATION_SPLIT)


_Faces = TypeVar("_Faces", LabelledFaces, ValuedFaces, LabelledFaces | ValuedFaces)


def _fitting(faces: _Faces, path: Path) -> _Faces:
    if len(faces) == 0:
        raise DataError(f"{path}, {faces.split}: no face that has one of the model's labels.")
    return faces


def _halved(faces: LabelledFaces, path: Path, count: int | None, seed: int) -> FaceSets:
    half = len(faces) // 2
    if half < MIN_COUNT:
        raise DataError(
            f"{path}: {len(faces)} faces, expected at least {2 * MIN_COUNT}: one half calibrates, the other judges."
        )
    order = faces.balanced(len(faces), seed)
    first, second = (
        replace(order, images=order.images[part], labels=order.labels[part], split=split)
        for part, split in ((slice(half), "calibration half"), (slice(half, None), "held-out half"))
    )
    return FaceSets(first, first.balanced(min(DEFAULT_COUNT, half) if count is None else count, seed), second)
