"""`--save DIR`: one folder with everything about a run, and the annotated pictures in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import UsageError
from fer_edge.files import atomic_write
from fer_edge.frames import Frame, FrameResult
from fer_edge.pictures import Pictures

_JPEG_QUALITY = 92


@dataclass(frozen=True)
class RunFolder:
    """Names for the files of one run in `folder`. `suffix` sets them apart from those of runs before: "-2", "-3"."""

    folder: Path
    suffix: str

    @property
    def jsonl(self) -> Path:
        """One JSON object a frame."""
        return self.folder / f"results{self.suffix}.jsonl"

    @property
    def csv(self) -> Path:
        """One row a face."""
        return self.folder / f"results{self.suffix}.csv"

    @property
    def timeline(self) -> Path:
        """The run as a page."""
        return self.folder / f"timeline{self.suffix}.html"

    @property
    def video(self) -> Path:
        """The annotated video, of a source whose frames follow one another."""
        return self.folder / f"annotated{self.suffix}.mp4"

    @property
    def pictures(self) -> Path:
        """The folder of annotated pictures, of a source of photographs."""
        return self.folder / f"annotated{self.suffix}"


def new_run(folder: Path) -> RunFolder:
    """Names in `folder` that no run before has used. Raises UsageError where `folder` is a file."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--save {folder}: a file of this name is there, expected a folder. Choose another name.")
    for number in count(1):
        run = RunFolder(folder, "" if number == 1 else f"-{number}")
        if not any(path.exists() for path in (run.jsonl, run.csv, run.timeline, run.video, run.pictures)):
            return run
    raise AssertionError("there is always another number")


class AnnotatedPicturesSink:
    """Writes every picture, annotated, under its own name into `folder`; a second a.jpg becomes a-2.jpg."""

    def __init__(self, folder: Path, pictures: Pictures) -> None:
        self.folder, self._pictures = folder, pictures
        self.name = f"pictures {folder}"
        self._names: Counter[str] = Counter()

    def __enter__(self) -> AnnotatedPicturesSink:
        """Make the folder. Raises UsageError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {self.folder}: {error.strerror}. Choose another one.") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Write the picture. Raises OSError where it cannot be written whole."""
        shown = self._pictures.of(frame, result)
        if shown is not None:
            with atomic_write(self.folder / self._free_name(Path(frame.source))) as part:
                part.write_bytes(_jpeg(shown))

    def _free_name(self, source: Path) -> str:
        self._names[source.stem] += 1
        repeated = self._names[source.stem]
        return f"{source.stem}{'' if repeated == 1 else f'-{repeated}'}.jpg"


def _jpeg(image_bgr: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
