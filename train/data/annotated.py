"""Faces of datasets other than FER2013, with what people annotated; kept as arrays and trained as FER2013 is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import DataError
from fer_edge.files import atomic_write

from train.data.fer2013 import EXPRESSIONS, SPLITS, Fer2013

# Every unit that CK+, BP4D and DISFA code; what a dataset does not code is unknown of its faces.
ACTION_UNITS = tuple(f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 24, 25, 26))
# Side in pixels of the maps of gaze that are learned from.
MAP_SIDE = 24


@dataclass(frozen=True)
class AnnotatedFaces:
    """images: (n, 48, 48) uint8 grey; usage: (n,) int64 indices into SPLITS; truths: by the name of a task, classes
    (n,) int64, below 0 where unknown, or values (n, ...) float32, NaN where unknown. `subjects`: (n,) int64, who it is.
    """

    dataset: str
    images: NDArray[np.uint8]
    usage: NDArray[np.int64]
    subjects: NDArray[np.int64]
    truths: Mapping[str, NDArray[np.int64] | NDArray[np.float32]]

    def truth(self, task: str) -> NDArray[np.int64] | NDArray[np.float32]:
        """Annotations for `task`. Raises DataError where nothing was."""
        if task not in self.truths:
            raise DataError(f"{self.dataset} has no annotation for {task}; it has: {', '.join(sorted(self.truths))}.")
        return self.truths[task]

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "AnnotatedFaces":
        """Some of the faces, by a mask (n,) or by their numbers."""
        truths = {task: values[chosen] for task, values in self.truths.items()}
        return AnnotatedFaces(self.dataset, self.images[chosen], self.usage[chosen], self.subjects[chosen], truths)


Faces = Fer2013 | AnnotatedFaces


def save(data: AnnotatedFaces, path: Path) -> None:
    """Write atomically, in the layout `fer_edge.faces` reads."""
    labels = data.truths.get("expression7", np.full(len(data.images), -1))
    arrays = {f"truth_{task}": values for task, values in data.truths.items()}
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez(
            stream,
            images=data.images,
            labels=labels.astype(np.int8),
            splits=data.usage.astype(np.int8),
            subjects=data.subjects,
            label_names=np.array(EXPRESSIONS),
            split_names=np.array(SPLITS),
            dataset=np.array(data.dataset),
            **arrays,
        )


def of_arrays(arrays: Mapping[str, NDArray]) -> AnnotatedFaces:
    """Rebuild the faces that `save` wrote, from the arrays of its file."""
    truths = {name.removeprefix("truth_"): values for name, values in arrays.items() if name.startswith("truth_")}
    usage = arrays["splits"].astype(np.int64)
    return AnnotatedFaces(str(arrays["dataset"]), arrays["images"], usage, arrays["subjects"], truths)


def split_by_subject(subjects: NDArray[np.int64], held_out: int = 5) -> NDArray[np.int64]:
    """Usage (n,) where a dataset has no split of its own: every `held_out`-th person is PublicTest, nobody is in both.

    There is no PrivateTest; that is the dataset's own protocol to hold.
    """
    order = {subject: place for place, subject in enumerate(sorted(set(subjects.tolist())))}
    validation = np.array([order[subject] % held_out == held_out - 1 for subject in subjects.tolist()], dtype=bool)
    if len(order) > 1 and not validation.any():
        validation = subjects == max(order)
    return np.where(validation, SPLITS.index("PublicTest"), SPLITS.index("Training")).astype(np.int64)
