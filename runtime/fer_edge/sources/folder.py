"""Pictures: one file, or a folder of them in the order of their names."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.picture_file import kind_of_file, read_image
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.redaction import redacted
from fer_edge.sources.address import IMAGE_SUFFIXES

logger = logging.getLogger("fer_edge")

# Of a folder full of damaged images the first are named, and the rest are counted.
_TOLD_ONE_BY_ONE = 10
_SHOWN_SUFFIXES = 5


class PicturesSource:
    """Several pictures, in the order given. `Frame.source` is the picture's own path.

    They have no clock and lie one second apart. One that cannot be read is left out with a warning and counted in
    `left_out`, without a gap in the index.
    """

    continuous = False
    live = False
    fps: float | None = 1.0

    def __init__(self, paths: Sequence[Path], limit: PictureLimit = DEFAULT_LIMIT) -> None:
        self._paths, self._limit = paths, limit
        self.name = f"{len(paths)} pictures"
        self.frame_count: int | None = None
        self.left_out = 0
        self._first: list[Frame] = []
        self._frames: Iterator[Frame] | None = None

    def __enter__(self) -> PicturesSource:
        """Read the first picture that can be. Raises SourceError when there is none."""
        paths = self._list()
        self.frame_count = len(paths)
        self._frames = self._readable(paths)
        first = next(self._frames, None)
        if first is None:
            raise SourceError(f"{self.name}: none of {len(paths)} images can be decoded. Copy them again.")
        self._first = [first]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the pictures."""
        self._frames = None
        self._first.clear()

    def __iter__(self) -> Iterator[Frame]:
        """The pictures that can be read, once."""
        if self._frames is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        # No variable keeps a frame while the next one is decoded: for two large pictures there may be no room.
        if self._first:
            yield self._first.pop()
        yield from self._frames

    def _list(self) -> list[Path]:
        return list(self._paths)

    def _readable(self, paths: list[Path]) -> Iterator[Frame]:
        index = 0
        for path in paths:
            try:
                yield Frame(read_image(path, limit=self._limit), index, float(index), str(path))
                index += 1
            except SourceError as error:
                self.left_out += 1
                if self.left_out <= _TOLD_ONE_BY_ONE:
                    logger.warning("%s Left out.", error)
        if self.left_out > _TOLD_ONE_BY_ONE:
            logger.warning("%s: %d of %d images were left out in all.", self.name, self.left_out, len(paths))


class FolderSource(PicturesSource):
    """The pictures directly in a folder, frame2 before frame10.

    Pictures are known by their first bytes, whatever they are called; other files are left out with a warning.
    """

    def __init__(self, path: Path, limit: PictureLimit = DEFAULT_LIMIT) -> None:
        super().__init__((), limit)
        self.path, self.name = path, str(path)

    def _list(self) -> list[Path]:
        """The files that are pictures by their suffix or, where that says nothing, by their first bytes."""
        try:
            files = [Path(entry.path) for entry in os.scandir(self.path) if not entry.is_dir()]
        except OSError as error:
            raise SourceError(f"{self.name}: cannot list the folder ({error.strerror}).") from None
        paths = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES or kind_of_file(path) is not None]
        if not paths:
            raise SourceError(
                f"{self.name}: no images in this folder{_kinds_of(files)}. Expected e.g. JPEG, PNG, WebP or TIFF files."
            )
        others = set(files).difference(paths)
        if others:
            logger.warning(
                "%s: %d files are left out, as they are no images%s.", self.name, len(others), _kinds_of(others)
            )
        return sorted(paths, key=_natural)


def _kinds_of(paths: Collection[Path]) -> str:
    """Which suffixes they have and how often, such as " (.txt 3, .mp4 1)"; nothing for no paths."""
    counts = Counter(path.suffix.lower() or "no suffix" for path in paths).most_common(_SHOWN_SUFFIXES)
    return f" ({', '.join(f'{suffix} {count}' for suffix, count in counts)})" if counts else ""


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts digits as the number they are; the name itself settles 1.png against 01.png."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdigit() and part.isascii() else (0, part) for part in parts] + [(0, path.name)]


class ImageSource:
    """A single picture: frame 0 at time 0."""

    continuous = False
    live = False
    left_out = 0
    # A picture has no clock; one second a picture makes an annotated video of it watchable.
    fps: float | None = 1.0
    frame_count: int | None = 1

    def __init__(self, path: Path, limit: PictureLimit = DEFAULT_LIMIT) -> None:
        self.path, self._limit = path, limit
        self.name = redacted(str(path))
        self._image: NDArray[np.uint8] | None = None

    def __enter__(self) -> ImageSource:
        """Decode the picture. Raises SourceError."""
        self._image = read_image(self.path, limit=self._limit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the picture."""
        self._image = None

    def __iter__(self) -> Iterator[Frame]:
        """The one frame."""
        if self._image is None:
            raise SourceError(f"{self.name}: enter the source before reading it.")
        yield Frame(self._image, 0, 0.0, self.name)
