"""Face detectors behind one protocol, found by name; each file's bytes are pinned by SHA-256."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import MODEL_BYTES, read_bytes, sha256_of
from fer_edge.frames import Box, Detection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DATA = Path(__file__).parent.parent / "data"
# In place of a detector: every picture is one face, cut out already.
NONE = "none"
# YuNet where its file was made, else MediaPipe.
AUTO = "auto"
MADE_KEY = "fer_edge_detector"
"""Metadata of a .tflite detector made here: a JSON object, whose source_sha256 is the published file's digest."""


class Detector(Protocol):
    """Finds faces in a picture."""

    name: str
    side_px: int
    """The longer side it scales every picture to."""

    @property
    def min_score(self) -> float:
        """Lowest score of a face that is named; less may still be a face, which counts where faces are hidden."""
        ...

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """Faces in an image (h, w, 3) uint8, best first; with `faint` also what only may be a face.

        Raises ValueError where the network's numbers are not finite.
        """
        ...


@runtime_checkable
class FollowingDetector(Detector, Protocol):
    """A detector that also finds a face again near a known place, for much less than a look at the whole picture."""

    @property
    def follows_at_most(self) -> int:
        """With more faces than this, the whole picture is cheaper; 0 where it follows none."""
        ...

    def follow(self, image_bgr: NDArray[np.uint8], expected: Box) -> Detection | None:
        """The face that is expected at a place in an image (h, w, 3) uint8, or None where it is not there.

        Raises ValueError where the network's numbers are not finite.
        """
        ...


@dataclass(frozen=True)
class DetectorFile:
    """A published detector file. `sha256s` are the contents known to work; `remedy` is the command that brings it.

    `notice` says whose it is, before the text of the licence. `made_filename` is the .tflite that
    `fer-edge-lab make-detector` makes of it, which is used where it is there.
    """

    name: str
    filename: str
    sha256s: tuple[str, ...]
    licence: str
    notice: str
    remedy: str
    made_filename: str | None = None

    @property
    def path(self) -> Path:
        """Where the package keeps it: the file made of it, if it is there, else the published one, there or not."""
        made = DATA / self.made_filename if self.made_filename else None
        return made if made is not None and made.is_file() else DATA / self.filename


DETECTOR_FILES = {
    "mediapipe": DetectorFile(
        name="mediapipe",
        filename="face_detection_full_range_sparse.tflite",
        sha256s=("2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",),
        licence="Apache-2.0",
        notice="Face detector full-range sparse of MediaPipe, copyright The MediaPipe Authors, unchanged.",
        remedy="fer-edge models --fetch mediapipe",
    ),
    "yunet": DetectorFile(
        name="yunet",
        filename="yunet_n_320_320.onnx",
        sha256s=(
            "81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
            # The larger sibling, as OpenCV Zoo publishes it; slower, for --detector-file.
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        ),
        licence="Apache-2.0",
        notice=(
            "Face detector YuNet-n of libfacedetection.train (Shiqi Yu and others), copyright its authors, OpenMMLab.\n"
            "The .tflite was changed: rebuilt for LiteRT, its channels equalized, its weights quantized to INT8."
        ),
        remedy="fer-edge models --fetch yunet",
        made_filename="yunet.int8.tflite",
    ),
}


DETECTORS = (AUTO, *DETECTOR_FILES, NONE)


def default_detector() -> str:
    """The detector that AUTO stands for: YuNet where its .tflite was made, else MediaPipe."""
    yunet = DETECTOR_FILES["yunet"]
    return yunet.name if yunet.path.name == yunet.made_filename else "mediapipe"


def open_detector(name: str, file: Path | None = None, *, min_score: float | None = None, threads: int = 1) -> Detector:
    """Load detector `name` of DETECTORS from the package's data, or from a local `file`.

    AUTO is the detector whose `file` it is, and without a file `default_detector()`.

    Raises UsageError for an unknown name and for a file that NONE cannot use, ModelError when the file is missing or is
    not one of the pinned ones.
    """
    if name not in DETECTORS:
        raise UsageError(f"detector {name!r} is unknown; there are: {', '.join(DETECTORS)}.")
    if name == NONE:
        if file is not None:
            raise UsageError(f"--detector-file {file}: --detector {NONE} takes no file. Leave one of them out.")
        return WholePicture()
    if name == AUTO:
        name = default_detector() if file is None else _detector_of(file)
    path = checked_file(DETECTOR_FILES[name], file)
    return _factory(name)(path, min_score, threads)


class WholePicture:
    """Takes every picture for one face, as wide and high as it is. See `Detector`."""

    name = NONE
    side_px = 1
    min_score = 0.0

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """The whole picture, with a score of 1."""
        height, width = image_bgr.shape[:2]
        return [Detection(Box(0.0, 0.0, float(width), float(height)), 1.0)]


def checked_file(pinned: DetectorFile, file: Path | None = None) -> Path:
    """Path of a detector file whose contents are the pinned ones, or that was made of them. Raises ModelError."""
    path = file or pinned.path
    if not path.is_file():
        raise ModelError(
            f"detector file not found: {path}. Bring it with `{pinned.remedy}`, or name a copy with --detector-file."
        )
    digest = sha256_of(path)
    owner = _owner_of(path, digest)
    if owner is None:
        raise ModelError(
            f"{path}: SHA-256 is {digest[:12]}..., expected {pinned.sha256s[0][:12]}... of the published "
            f"{pinned.filename}. Bring it again with `{pinned.remedy}`."
        )
    if owner != pinned.name:
        raise ModelError(f"{path}: expected a file of {pinned.name}, found one of {owner}. Add `--detector {owner}`.")
    return path


def _detector_of(file: Path) -> str:
    """Name of the detector whose file it is; that of YuNet where nobody's is it, or there is none."""
    return (_owner_of(file, sha256_of(file)) if file.is_file() else None) or "yunet"


def _owner_of(path: Path, digest: str) -> str | None:
    """Name of the detector whose file it is, as published or made of that; None where it is nobody's."""
    for pinned in DETECTOR_FILES.values():
        if digest in pinned.sha256s or (pinned.made_filename and _source_of(path) in pinned.sha256s):
            return pinned.name
    return None


def _source_of(path: Path) -> str | None:
    """Digest of the published file that a .tflite was made of, None where it does not say. Raises ModelError."""
    if path.suffix != ".tflite":
        return None
    from fer_edge.tflite_file import read_metadata

    text = read_metadata(read_bytes(path, ModelError, limit_bytes=MODEL_BYTES), MADE_KEY, str(path))
    try:
        source = json.loads(text or "{}").get("source_sha256")
    except (ValueError, AttributeError, RecursionError):
        return None
    return source if isinstance(source, str) else None


def _factory(name: str) -> Callable[[Path, float | None, int], Detector]:
    """The detector's class, imported only when it is asked for."""
    if name == "mediapipe":
        from fer_edge.detectors.mediapipe import MediaPipeDetector

        return MediaPipeDetector
    from fer_edge.detectors.yunet import YuNetDetector

    return YuNetDetector
