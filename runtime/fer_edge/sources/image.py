"""One picture, as a source of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.frames import Frame
from fer_edge.picture_file import read_image
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit
from fer_edge.redaction import redacted


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
