"""Labelled face crops as picture files: a folder with one sub-folder a label, or a CSV that names them."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import csv_cells, csv_header
from fer_edge.errors import DataError, SourceError
from fer_edge.picture_file import kind_of_file, read_image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_COLUMNS = ("path", "label")


def holds_pictures(path: Path) -> bool:
    """Whether `path` is a folder or a CSV for `read_pictures`, and no cache of arrays."""
    return path.is_dir() or path.suffix.lower() == ".csv"


def read_pictures(
    path: Path, size_px: tuple[int, int] | None, *, colour: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Images grey (n, h, w) or BGR (n, h, w, 3) uint8, labels (n,) int64, and the labels' names in alphabetical order.

    A folder has one sub-folder of pictures a label. A CSV has the columns `path`, from its own folder, and `label`;
    others are passed over. Pictures are resized to `size_px` (height, width) where that is given, as the runtime
    resizes a crop. Raises DataError for what cannot be read, and for pictures of different sizes.
    """
    named = list(_in_folder(path) if path.is_dir() else _in_csv(path))
    names = tuple(sorted({label for _, label in named}))
    images, labels, broken = [], [], []
    for file, label in named:
        try:
            image = read_image(file, grey=not colour)
        except SourceError as error:
            broken.append(str(error))
            continue
        images.append(image if size_px is None else cv2.resize(image, size_px[::-1], interpolation=cv2.INTER_AREA))
        labels.append(names.index(label))
    if broken:
        raise DataError(f"{broken[0]} {len(broken)} of {len(named)} images cannot be read. {_remedy(path)}")
    if not images:
        raise DataError(f"{path}: no faces. {_expected(path)}")
    if len({image.shape for image in images}) > 1:
        raise DataError(f"{path}: faces of different sizes. Crop them all to the model's input size.")
    return np.stack(images).astype(np.uint8), np.asarray(labels, dtype=np.int64), names


def _in_folder(root: Path) -> Iterator[tuple[Path, str]]:
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _SUFFIXES or kind_of_file(path) is not None:
                yield path, folder.name


def _in_csv(path: Path) -> Iterator[tuple[Path, str]]:
    if not path.is_file():
        raise DataError(f"{path} not found. {_expected(path)}")
    header = csv_header(path)
    absent = [name for name in _COLUMNS if name not in header]
    if absent:
        hint = " `make data` reads FER2013's own." if "pixels" in header else ""
        raise DataError(f"{path}: no column {absent[0]!r}. {_expected(path)}{hint}")
    for where, cells in csv_cells(path):
        label = cells["label"].strip()
        if not label or not cells["path"].strip():
            raise DataError(f"{where}: no {'path' if label else 'label'}. Give every picture both.")
        yield path.parent / cells["path"].strip(), label


def _expected(path: Path) -> str:
    if path.suffix.lower() == ".csv":
        return "Expected the columns path, from the folder of the CSV, and label."
    return f"Expected one sub-folder of images a class, such as {path.name}/happy/1.png."


def _remedy(path: Path) -> str:
    return "Remove such files or copy them again." if path.is_dir() else "Correct their paths or leave them out."
