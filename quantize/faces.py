"""Which faces calibrate and which ones judge: never the same."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import ModelContract
from fer_edge.errors import DataError, UsageError
from fer_edge.faces import LabelledFaces, load_faces

DEFAULT_COUNT, DEFAULT_SEED = 512, 0
_CALIBRATION_SPLIT, _EVALUATION_SPLIT = "Training", "PublicTest"
# The smallest number the calibration curve was measured for: docs/quantization.md.
MIN_COUNT = 32


@dataclass(frozen=True)
class FaceSets:
    """Labelled faces in the model's size and order of labels: some to calibrate on, others to judge on.

    The calibration faces are drawn from `training`, all there are to learn from.
    """

    training: LabelledFaces
    calibration: LabelledFaces
    evaluation: LabelledFaces


@dataclass(frozen=True)
class Evaluation:
    """The images candidates are compared on, (n, h, w) uint8; `faces` is None where they are the golden inputs."""

    images: NDArray[np.uint8]
    faces: LabelledFaces | None


def open_faces(path: Path, contract: ModelContract, count: int | None, seed: int | None) -> FaceSets | None:
    """The faces at `path`; None where there are none.

    A face cache calibrates on `count` faces of Training and judges on PublicTest. A folder with one sub-folder of
    images a class is halved: one half calibrates (`count` of it, at most 512), the other judges. Raises DataError for
    faces that cannot be read, do not fit the model or are too few, UsageError for a senseless count or seed.
    """
    if not path.exists():
        return None
    seed = DEFAULT_SEED if seed is None else seed
    if seed < 0 or (count is not None and count < 1):
        raise UsageError(f"--count {count} --seed {seed}: expected a count above 0 and a seed of 0 or more.")
    size = (contract.input.height_px, contract.input.width_px)
    if path.is_dir():
        return _halved(load_faces(path, "all", size).in_order_of(contract.labels), path, count, seed)
    training, public = (
        _fitting(load_faces(path, split).in_order_of(contract.labels), size, path)
        for split in (_CALIBRATION_SPLIT, _EVALUATION_SPLIT)
    )
    return FaceSets(training, training.balanced(DEFAULT_COUNT if count is None else count, seed), public)


def _fitting(faces: LabelledFaces, size: tuple[int, int], path: Path) -> LabelledFaces:
    if faces.images.shape[1:] != size or len(faces) == 0:
        raise DataError(
            f"{path}, {faces.split}: {len(faces)} faces of {faces.images.shape[1:]} px; the model takes {size}."
        )
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
