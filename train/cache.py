"""The parsed dataset, kept as one .npz so that 300 MB of text is parsed once."""

from pathlib import Path

import numpy as np

from fer_edge.faces import read_cache
from fer_edge.files import atomic_write

from train.fer2013 import EXPRESSIONS, OFFICIAL_COUNTS, SPLITS, Fer2013, read_fer2013

DEFAULT_CACHE = Path("data/fer2013.npz")


def save(data: Fer2013, path: Path) -> None:
    """Write `data` atomically in the layout `fer_edge.faces.load_faces` reads."""
    arrays = {"images": data.images, "labels": data.emotions.astype(np.int8), "splits": data.usage.astype(np.int8)}
    if data.votes is not None:
        arrays["votes"] = data.votes.astype(np.int8)
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, label_names=np.array(EXPRESSIONS), split_names=np.array(SPLITS), **arrays)


def load(path: Path = DEFAULT_CACHE) -> Fer2013:
    """Read the cache back. Raises DataError saying how to make it when it is not there or damaged."""
    arrays = read_cache(path)
    votes = arrays["votes"].astype(np.int64) if "votes" in arrays else None
    return Fer2013(arrays["images"], arrays["labels"].astype(np.int64), arrays["splits"].astype(np.int64), votes)


def build(source: Path, ferplus: Path | None, path: Path = DEFAULT_CACHE, *, subset: bool = False) -> Fer2013:
    """Read FER2013 from `source` unless `path` is newer than it (and holds votes when `ferplus` is asked for)."""
    inputs = [p for p in (source, ferplus) if p is not None]
    if (
        path.is_file()
        and source.exists()
        and all(p.stat().st_mtime <= path.stat().st_mtime for p in inputs if p.exists())
    ):
        data = load(path)
        if (data.votes is not None) or ferplus is None:
            return data
    data = read_fer2013(source, ferplus, expected_counts=None if subset else OFFICIAL_COUNTS)
    save(data, path)
    return data
