"""The parsed dataset, kept as one .npz so that 300 MB of text is parsed once."""

import hashlib
from pathlib import Path

import numpy as np

from fer_edge.errors import DataError
from fer_edge.faces import read_cache
from fer_edge.files import atomic_write

from train.data import annotated
from train.data.annotated import AnnotatedFaces
from train.data.fer2013 import EXPRESSIONS, OFFICIAL_COUNTS, SPLITS, Fer2013, read_fer2013

DEFAULT_CACHE = Path("data/fer2013.npz")


def save(data: Fer2013, path: Path, origin: str = "") -> None:
    """Write `data` atomically in the layout `fer_edge.faces.load_faces` reads; `origin` tells what it was read from."""
    arrays = {"images": data.images, "labels": data.emotions.astype(np.int8), "splits": data.usage.astype(np.int8)}
    if data.votes is not None:
        arrays["votes"] = data.votes.astype(np.int8)
    names = {"label_names": np.array(EXPRESSIONS), "split_names": np.array(SPLITS), "origin": np.array(origin)}
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **names, **arrays)


def load(path: Path = DEFAULT_CACHE) -> Fer2013:
    """Read the cache of FER2013 back. Raises DataError saying how to make it when it is not there or damaged."""
    data = load_any(path)
    if not isinstance(data, Fer2013):
        raise DataError(f"{path}: holds {data.dataset}, expected FER2013. Name its cache with --faces.")
    return data


def load_any(path: Path) -> Fer2013 | AnnotatedFaces:
    """Read the cache of FER2013, or of another annotated dataset, back. Raises DataError as `load` does."""
    arrays = read_cache(path)
    if "dataset" in arrays:
        return annotated.of_arrays(arrays)
    votes = arrays["votes"].astype(np.int64) if "votes" in arrays else None
    return Fer2013(arrays["images"], arrays["labels"].astype(np.int64), arrays["splits"].astype(np.int64), votes)


def build(source: Path, ferplus: Path | None, path: Path = DEFAULT_CACHE, *, subset: bool = False) -> Fer2013:
    """Read FER2013 from `source` and FER+ from `ferplus`, unless `path` holds just that already."""
    origin = _origin(source, ferplus, subset)
    if path.is_file() and str(read_cache(path).get("origin", "")) == origin:
        return load(path)
    data = read_fer2013(source, ferplus, expected_counts=None if subset else OFFICIAL_COUNTS)
    save(data, path, origin)
    return data


def _origin(source: Path, ferplus: Path | None, subset: bool) -> str:
    """Digest of every input file's path, size and time of change: other files, or changed ones, give another."""
    digest = hashlib.sha256(str(subset).encode())
    for root in (source, ferplus):
        files = sorted(root.rglob("*")) if root is not None and root.is_dir() else [root]
        for file in (file for file in files if file is not None and file.is_file()):
            status = file.stat()
            digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
        digest.update(b"|")
    return digest.hexdigest()
