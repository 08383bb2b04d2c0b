"""The work folder of a search: finished trials and measurements, kept by what they were made from, to resume from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write

WORK_FOLDER = ".search"
_COUNTS, _REFUSED = "instructions.json", "refused.json"


def key_of(*inputs: Any) -> str:
    """A name for what is made from these inputs: part of the SHA-256 of their JSON form."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def source_digest() -> str:
    """SHA-256 over the code of this package: a trial made by other code is made again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class WorkFolder:
    """A folder of trial folders, one of which appears under its key only when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Path | None:
        """The trial of an earlier start, or None."""
        path = self.folder / key
        return path if path.is_dir() else None

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the trial `key` when the block succeeds, and vanishes if not.

        Raises UsageError where nothing can be written.
        """
        staging = self.folder / f".{key}.{os.getpid()}.part"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"cannot write {self.folder}: {error.strerror}. Choose a folder you may write to."
            ) from None
        try:
            yield staging
            shutil.rmtree(self.folder / key, ignore_errors=True)
            staging.replace(self.folder / key)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def array(self, name: str, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """The array kept under `name` (a path below the work folder); made and kept where there is none."""
        path = self.folder / f"{name}.npy"
        try:
            kept: NDArray[np.float32] = np.load(path)
            return kept
        except (OSError, ValueError, EOFError):
            pass
        made = make()
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, made)
        return made

    def refused(self, suffix: str) -> str | None:
        """The key of the trial of a kind of file that the last search had least against, None where it had none."""
        return _table_in(self.folder / _REFUSED).get(suffix)

    def set_refused(self, keys: dict[str, str]) -> None:
        """Remember the best refused trials, suffix -> key, in place of those of the search before."""
        with atomic_write(self.folder / _REFUSED) as temporary:
            temporary.write_text(json.dumps(keys, indent=1) + "\n")

    def counts(self, cpu: str) -> dict[str, int]:
        """Instructions an inference counted earlier on `cpu`, by the digest of the graph."""
        return dict(_table_in(self.folder / _COUNTS).get(cpu, {}))

    def add_counts(self, cpu: str, counts: dict[str, int]) -> None:
        """Keep more counts for `cpu`."""
        table = _table_in(self.folder / _COUNTS)
        table[cpu] = {**table.get(cpu, {}), **counts}
        with atomic_write(self.folder / _COUNTS) as temporary:
            temporary.write_text(json.dumps(table, indent=1) + "\n")

    def keep_only(self, digest: str, keys: Sequence[str]) -> None:
        """Remove trials whose keys neither begin with `digest` nor are among `keys`, and what a killed start left."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.is_dir() and not path.name.startswith(digest) and path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)


def _table_in(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
