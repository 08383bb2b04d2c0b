"""A folder of pictures, in the order of their names."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.sources.address import IMAGE_SUFFIXES
from fer_edge.sources.image import read_image

logger = logging.getLogger("fer_edge")


class FolderSource:
    """The pictures directly in a folder, frame2 before frame10. `Frame.source` is the picture's own path.

    Pictures have no clock: they lie one second apart. One that cannot be read is left out with a warning, without a
    gap in the index.
    """

    continuous = False
    live = False
    fps: float | None = 1.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.frame_count: int | None = None
        self._pictures: Iterator[tuple[Path, NDArray[np.uint8]]] | None = None

    def __enter__(self) -> FolderSource:
        """List the folder and read its first picture. Raises SourceError when no picture can be read."""
        paths = self._list()
        self.frame_count = len(paths)
        pictures = _readable(paths)
        first = next(pictures, None)
        if first is None:
            raise SourceError(f"{self.name}: none of its {len(paths)} images can be decoded. Copy them again.")
        self._pictures = itertools.chain([first], pictures)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the pictures."""
        self._pictures = None

    def __iter__(self) -> Iterator[Frame]:
        """The pictures that can be read, once."""
        if self._pictures is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        for index, (path, image) in enumerate(self._pictures):
            yield Frame(image, index, float(index), str(path))

    def _list(self) -> list[Path]:
        try:
            paths = [path for path in self.path.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        except OSError as error:
            raise SourceError(f"{self.name}: cannot list the folder ({error.strerror}).") from None
        if not paths:
            raise SourceError(f"{self.name}: no images in this folder. Expected {', '.join(IMAGE_SUFFIXES)}.")
        return sorted(paths, key=_natural)


def _readable(paths: list[Path]) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    for path in paths:
        try:
            yield path, read_image(path)
        except SourceError as error:
            logger.warning("%s Left out.", error)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts digits as the number they are; the name itself settles 1.png against 01.png."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdigit() and part.isascii() else (0, part) for part in parts] + [(0, path.name)]
