"""CAT2000 (Borji and Itti, 2015): where people looked in 2000 pictures of 20 categories.

`trainSet/Stimuli/CATEGORY/001.jpg` with `trainSet/FIXATIONMAPS/CATEGORY/001.jpg`, the blurred density, and
`trainSet/FIXATIONLOCS/CATEGORY/001.mat`, whose `fixLocs` is 1 where somebody's gaze rested.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from tqdm import tqdm

from fer_edge.errors import DataError

from train.data.annotated import MAP_SIDE, AnnotatedFaces
from train.data.fer2013 import SPLITS
from train.data.readers.pictures import face_in, read_picture, require_folder

# The test set's fixations are kept by its publishers; every fifth picture of a category stands in for it.
_HELD_OUT = 5


def read(root: Path) -> AnnotatedFaces:
    """Read the training set, pictures grey and squeezed to 48x48. Raises DataError naming the file at fault."""
    train = root / "trainSet" if (root / "trainSet").is_dir() else root
    stimuli = require_folder(train / "Stimuli", "CAT2000", "trainSet/Stimuli/CATEGORY/001.jpg")
    pictures = sorted(path for path in stimuli.glob("*/*.jpg"))
    if not pictures:
        raise DataError(f"{stimuli}: no pictures. Expected CATEGORY/001.jpg.")
    images, maps, usage = [], [], []
    for number, picture in enumerate(tqdm(pictures, desc="reading CAT2000")):
        place = picture.relative_to(stimuli)
        density = read_picture(train / "FIXATIONMAPS" / place)
        fixations = _fixations(train / "FIXATIONLOCS" / place.with_suffix(".mat"))
        if not density.any() or not fixations.any():
            raise DataError(f"{picture}: nobody looked at it; expected a density and fixations.")
        images.append(face_in(read_picture(picture)))
        maps.append(_map(density, fixations))
        held_out = number % _HELD_OUT == _HELD_OUT - 1
        usage.append(SPLITS.index("PublicTest" if held_out else "Training"))
    truths = {"saliency": np.stack(maps)}
    return AnnotatedFaces("CAT2000", np.stack(images), np.array(usage), np.arange(len(images)), truths)


def _fixations(path: Path) -> NDArray[np.bool_]:
    try:
        rested = np.asarray(loadmat(str(path))["fixLocs"]) > 0
    except Exception as error:  # loadmat raises whatever the damaged bytes lead to
        raise DataError(f"{path}: no fixations ({type(error).__name__}); expected a .mat file with fixLocs.") from None
    if rested.ndim != 2:
        raise DataError(f"{path}: fixLocs has {rested.ndim} axes, expected rows and columns of the picture.")
    return rested


def _map(density: NDArray[np.uint8], fixations: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Density with sum 1 and counts of fixations, (2, MAP_SIDE, MAP_SIDE)."""
    small = cv2.resize(density.astype(np.float32), (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    rows, columns = np.nonzero(fixations)
    counts = np.zeros((MAP_SIDE, MAP_SIDE), dtype=np.float32)
    height, width = fixations.shape
    np.add.at(counts, (rows * MAP_SIDE // height, columns * MAP_SIDE // width), 1)
    return np.stack([small / small.sum(), counts])
