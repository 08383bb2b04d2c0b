"""One picture, as a source of one frame; and reading picture files for whoever needs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.quiet import native_stderr_closed, quiet_opencv
from fer_edge.redaction import quoted, redacted


def check_file(path: Path, expected: str) -> None:
    """Raise SourceError where `path` is no readable file with something in it; `expected` says what it should be."""
    try:
        if not path.is_file():
            found = "not a file" if path.exists() else "no such file"
            others = "a folder of images, a camera or a stream's address"
            raise SourceError(f"{redacted(str(path))}: {found}. Expected {expected}, {others}.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise SourceError(f"{path}: the file is empty (0 bytes). Expected {expected}; copy it again.")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{quoted(str(path))}: cannot be read ({getattr(error, 'strerror', None) or error}). Expected {expected}."
        ) from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """A picture file as (h, w, 3) uint8 BGR, upright by its EXIF orientation; grey, alpha and 16 bits are converted.

    Raises SourceError when it is missing, empty, damaged or not a picture.
    """
    check_file(path, "an image")
    quiet_opencv()
    try:
        data = np.fromfile(path, dtype=np.uint8)
        with native_stderr_closed():
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise SourceError(f"{path}: not an image that can be decoded: damaged, cut short or another format.")
    return np.asarray(image, dtype=np.uint8)


class ImageSource:
    """A single picture: frame 0 at time 0."""

    continuous = False
    live = False
    # A picture has no clock; one second a picture makes an annotated video of it watchable.
    fps: float | None = 1.0
    frame_count: int | None = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = redacted(str(path))
        self._image: NDArray[np.uint8] | None = None

    def __enter__(self) -> ImageSource:
        """Decode the picture. Raises SourceError."""
        self._image = read_image(self.path)
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
