"""Labelled faces on disk, as calibration, the accuracy gate and the benchmark read them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.arrays import read_arrays
from fer_edge.errors import DataError
from fer_edge.face_pictures import holds_pictures, read_pictures
from fer_edge.tasks import CLASSES, FER_PLUS, TASKS
from fer_edge.truth import LABELS_OF, truth_of

_CACHE_ARRAYS = ("images", "labels", "splits", "label_names", "split_names")
_VOTES = 10
# The task whose classes are the labels of the faces themselves.
OWN_CLASSES = "classes"
_REMEDY = "Make it again with `make data`."
# Names of one expression, as datasets and models have them.
_SAME = (
    ("angry", "anger"),
    ("disgust", "disgusted"),
    ("fear", "fearful", "scared", "afraid"),
    ("happy", "happiness", "joy"),
    ("sad", "sadness"),
    ("surprise", "surprised"),
)
_CANONICAL = {name: names[0] for names in _SAME for name in names}


def canonical(label: str) -> str:
    """One name for an expression that has several: Happiness is happy. Other labels in lower case."""
    name = label.strip().casefold()
    return _CANONICAL.get(name, name)


@dataclass(frozen=True)
class LabelledFaces:
    """Face crops and their classes: images grey (n, h, w) or BGR (n, h, w, 3) uint8, labels (n,) int64 indices into
    `label_names`.

    A label below 0, in caches of faces annotated for something else, says that the class is not known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    dataset: str
    split: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def truth(self) -> NDArray[np.int64]:
        """Ground truth of the faces, (n,)."""
        return self.labels

    def in_order_of(self, labels: tuple[str, ...], *, leave_out: bool = False) -> "LabelledFaces":
        """The same faces with their classes numbered as in `labels`; happiness is happy, see `canonical`.

        Raises DataError for a class not among them; with `leave_out` such faces are left out, where two classes remain.
        """
        # A model may have both happy and joy: its very word comes before one that means the same.
        numbers = {canonical(label): number for number, label in enumerate(labels)}
        exact = {label: number for number, label in enumerate(labels)}
        place = {name: exact.get(name, numbers.get(canonical(name), -1)) for name in self.label_names}
        strangers = sorted(name for name, number in place.items() if number < 0)
        if strangers and not (leave_out and len(self.label_names) - len(strangers) >= 2):
            raise DataError(f"{self.dataset}: class {strangers[0]!r} is none of the model's: {', '.join(labels)}.")
        position = np.array([place[name] for name in self.label_names], dtype=np.int64)
        kept = position[self.labels] >= 0
        dataset = f"{self.dataset} without {', '.join(strangers)}" if strangers else self.dataset
        return LabelledFaces(self.images[kept], position[self.labels][kept], labels, dataset, self.split)

    def balanced(self, count: int, seed: int) -> "LabelledFaces":
        """`count` faces drawn as evenly over the classes as their numbers allow, in random order."""
        generator = np.random.default_rng(seed)
        classes = [*range(len(self.label_names)), *([-1] if (self.labels < 0).any() else [])]
        queues = [generator.permutation(np.flatnonzero(self.labels == c)) for c in classes]
        # Round-robin over the classes: a rare class gives all it has, the others fill up evenly.
        rounds = max((len(queue) for queue in queues), default=0)
        order = [int(queue[r]) for r in range(rounds) for queue in queues if r < len(queue)]
        if len(order) < count:
            raise DataError(f"{self.dataset}, {self.split}: {len(order)} faces, expected at least {count}.")
        chosen = generator.permutation(np.asarray(order[:count]))
        return LabelledFaces(self.images[chosen], self.labels[chosen], self.label_names, self.dataset, self.split)


@dataclass(frozen=True)
class ValuedFaces:
    """Grey face crops and their values: images (n, h, w) uint8, values (n, k) float32 in the order of `value_names`."""

    images: NDArray[np.uint8]
    values: NDArray[np.float32]
    value_names: tuple[str, ...]
    dataset: str
    split: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def truth(self) -> NDArray[np.float32]:
        """Ground truth of the faces, (n, k)."""
        return self.values


def load_faces(
    path: Path, split: str, size_px: tuple[int, int] | None = None, *, colour: bool = False
) -> LabelledFaces:
    """One split of the array cache `make data` writes (.npz), or all pictures of a folder or CSV (`read_pictures`).

    For pictures, `split` only names them, they are resized to `size_px` (height, width) where that is given, and with
    `colour` they are BGR. A cache holds grey faces. Raises DataError naming the file that is missing or unreadable.
    """
    if holds_pictures(path):
        return _of_pictures(path, split, size_px, colour=colour)
    return _of_cache(read_cache(path), path, split)


def _of_pictures(path: Path, split: str, size_px: tuple[int, int] | None, *, colour: bool) -> LabelledFaces:
    images, labels, names = read_pictures(path, size_px, colour=colour)
    return LabelledFaces(images, labels, names, path.name, split)


def _of_cache(arrays: dict[str, NDArray[Any]], path: Path, split: str) -> LabelledFaces:
    """The faces of one split with the cache's own classes."""
    chosen = _split_of(arrays, path, split)
    names = tuple(arrays["label_names"].tolist())
    return LabelledFaces(
        arrays["images"][chosen], arrays["labels"][chosen].astype(np.int64), names, dataset_of(arrays), split
    )


def load_task_faces(
    path: Path,
    split: str,
    task: str,
    labels: tuple[str, ...],
    size_px: tuple[int, int] | None = None,
    *,
    colour: bool = False,
) -> LabelledFaces | ValuedFaces:
    """The faces of one split that have a truth for `task`, in the order of the model's `labels`; see `load_faces`.

    From the array cache; for a folder or CSV only tasks of classes, which its labels then are. Truths beyond the seven
    classes are the cache's own annotations, or derived from the FER+ votes (`fer_edge.truth`). A folder, a CSV and the
    task `classes` leave out faces of classes that the model does not have. Raises DataError.
    """
    if holds_pictures(path):
        if TASKS[task].kind != CLASSES:
            raise DataError(f"{path}: its labels are classes, which say nothing of {task}. Give an array cache.")
        return load_faces(path, split, size_px, colour=colour).in_order_of(labels, leave_out=True)
    arrays = read_cache(path)
    if task in ("expression7", OWN_CLASSES) and f"truth_{task}" not in arrays:
        if (arrays["labels"] < 0).any():
            raise DataError(f"{path}: {dataset_of(arrays)} has no annotation for {task}.")
        return _named_faces(arrays, path, split, task, labels)
    chosen = _split_of(arrays, path, split)
    truth = truth_in(arrays, task)[chosen]
    if (truth.ndim == 1) != (TASKS[task].kind == CLASSES) or (truth.ndim == 2 and truth.shape[1] != len(labels)):
        raise DataError(
            f"{path}: the truth of {task} has shape {truth.shape[1:]} a face, expected {len(labels)} labels."
        )
    images, dataset = arrays["images"][chosen], dataset_of(arrays)
    if truth.ndim == 1:
        known = truth >= 0
        names = LABELS_OF.get(task, tuple(arrays["label_names"].tolist()))
        named = LabelledFaces(images[known], truth[known].astype(np.int64), names, dataset, split)
        return named.in_order_of(labels)
    known = ~np.isnan(truth).any(axis=1)
    return ValuedFaces(images[known], truth[known].astype(np.float32), labels, dataset, split)


def _named_faces(
    arrays: dict[str, NDArray[Any]], path: Path, split: str, task: str, labels: tuple[str, ...]
) -> LabelledFaces:
    """The cache's own classes; those of FER+ for a model of any classes that knows contempt."""
    faces = _of_cache(arrays, path, split)
    if task != OWN_CLASSES:
        return faces.in_order_of(labels)
    if "votes" in arrays and "contempt" in map(canonical, labels):
        truth = truth_in(arrays, "expression8")[_split_of(arrays, path, split)]
        known = truth >= 0
        images, numbers = faces.images[known], truth[known].astype(np.int64)
        faces = LabelledFaces(images, numbers, FER_PLUS, faces.dataset, split)
    return faces.in_order_of(labels, leave_out=True)


def truth_in(arrays: dict[str, NDArray[Any]], task: str) -> NDArray[Any]:
    """The truth of `task` for every face of a cache: annotated there, or derived; see `fer_edge.truth.truth_of`."""
    if f"truth_{task}" in arrays:
        return arrays[f"truth_{task}"]
    return truth_of(task, arrays["labels"], tuple(arrays["label_names"].tolist()), arrays.get("votes"))


def dataset_of(arrays: dict[str, NDArray[Any]]) -> str:
    """Which dataset a cache was made of."""
    return str(arrays.get("dataset", "FER2013"))


def _split_of(arrays: dict[str, NDArray[Any]], path: Path, split: str) -> NDArray[np.bool_]:
    splits = arrays["split_names"].tolist()
    if split not in splits:
        raise DataError(f"{path}: split {split!r} is unknown; there are: {', '.join(splits)}.")
    chosen: NDArray[np.bool_] = arrays["splits"] == splits.index(split)
    return chosen


def read_cache(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a face cache: images, labels, splits, label_names, split_names, and votes where there are any.

    Raises DataError when the file is absent, damaged or something else.
    """
    if not path.is_file():
        raise DataError(f"{path} not found. Make it with `make data FER2013=fer2013.csv FERPLUS=fer2013new.csv`.")
    arrays = read_arrays(path, DataError, what="a face cache", remedy=_REMEDY)
    for problem in _problems(arrays):
        raise DataError(f"{path}: not a face cache ({problem}). {_REMEDY}")
    return arrays


def _problems(arrays: dict[str, NDArray[Any]]) -> Iterator[str]:
    """Yield every inconsistency between a cache's arrays."""
    yield from (f"no {name}" for name in _CACHE_ARRAYS if name not in arrays)
    for name in ("label_names", "split_names"):
        names = arrays[name]
        if names.ndim != 1 or names.dtype.kind != "U" or not 0 < len(names) == len(set(names.tolist())):
            yield f"{name} is not a list of different texts"
    images = arrays["images"]
    if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        yield f"images are {images.dtype} {images.shape[:4]}, expected uint8 (n, height, width)"
    count = len(images)
    for name, least, meanings in (("labels", -1, "label_names"), ("splits", 0, "split_names")):
        yield from _problems_of_numbers(name, arrays[name], (count,), (least, len(arrays[meanings]) - 1))
    if "votes" in arrays:
        yield from _problems_of_numbers("votes", arrays["votes"], (count, _VOTES), (0, 127))
    if "subjects" in arrays:
        yield from _problems_of_numbers("subjects", arrays["subjects"], (count,), (-1, 2**40))
    for name in ("dataset", "origin"):
        if name in arrays and (arrays[name].ndim != 0 or arrays[name].dtype.kind != "U"):
            yield f"{name} is not a text"
    for name in (name for name in arrays if name.startswith("truth_")):
        yield from _problems_of_truth(name, arrays, count)


def _problems_of_numbers(
    name: str, array: NDArray[Any], shape: tuple[int, ...], bounds: tuple[int, int]
) -> Iterator[str]:
    if array.shape != shape or array.dtype.kind not in "iu":
        yield f"{name} are {array.dtype} {array.shape[:4]}, expected whole numbers {shape}"
    elif array.size and not bounds[0] <= int(array.min()) <= int(array.max()) <= bounds[1]:
        yield f"{name} from {array.min()} to {array.max()}, expected {bounds[0]} to {bounds[1]}"


def _problems_of_truth(name: str, arrays: dict[str, NDArray[Any]], count: int) -> Iterator[str]:
    """Classes (n,) as whole numbers, values (n, ...) as floats."""
    truth, task = arrays[name], name.removeprefix("truth_")
    if truth.ndim == 1:
        names = LABELS_OF.get(task, arrays["label_names"])
        yield from _problems_of_numbers(name, truth, (count,), (-(2**31), len(names) - 1))
    elif truth.ndim == 0 or len(truth) != count or truth.dtype.kind != "f":
        yield f"{name} is {truth.dtype} {truth.shape[:4]}, expected ({count},) or ({count}, k) numbers"
