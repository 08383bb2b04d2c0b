"""The work folder of a search: finished candidates, kept by what they were made from, so that a killed one resumes."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_edge.errors import UsageError

WORK_FOLDER = ".search"


def key_of(inputs: dict[str, Any]) -> str:
    """A name for what is made from these inputs: part of the SHA-256 of their JSON form."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def source_digest() -> str:
    """SHA-256 over the code of this package: a candidate made by other code is made anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class WorkFolder:
    """A folder of candidate folders. One appears under its key only when it is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Path | None:
        """The candidate of an earlier start, or None."""
        path = self.folder / key
        return path if path.is_dir() else None

    @contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """Yield an empty folder that becomes the candidate `key` when the block succeeds, and vanishes if not.

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

    def keep_only(self, prefix: str) -> None:
        """Remove all candidates whose keys begin otherwise, and what a killed start left half done."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if not path.name.startswith(prefix):
                    shutil.rmtree(path, ignore_errors=True)
