"""Count what a frame costs in the whole loop on an emulated core, by stage: whole looks each time, and following."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge import __version__
from fer_edge.errors import DataError
from fer_edge.files import sha256_of

from boards.arm64.emulator import GuestError, Mark, run_guest
from boards.arm64.userland import Userland
from boards.instructions import InstructionRow, look_name

ENGINE = "fer-edge"
_STAGES = ("detect", "track", "crop", "classify", "smooth", "sink")
_WIDTH_PX, _HEIGHT_PX = 640, 480
# A whole look in ten: so many frames have two of them, wherever they begin.
_MEASURED = 20


@dataclass(frozen=True)
class LoopCase:
    """One way to run the loop. `faces` are in each frame, `every` frames lie between two looks at the whole of it."""

    faces: int
    every: int
    range: str
    warmup: int

    @property
    def name(self) -> str:
        """How the rows of boards/instructions.csv call it."""
        how = "each frame" if self.every == 1 else f"each {self.every}th, followed"
        return f"loop, {self.faces} face{'s' if self.faces > 1 else ''}, {self.range}, {how}"


@dataclass(frozen=True)
class LookCase:
    """A detector and its file on a canvas; its own where `side_px` is None."""

    detector: str
    file: Path
    side_px: int | None

    @property
    def name(self) -> str:
        """How the rows of boards/instructions.csv call it."""
        return look_name(self.detector, self.side_px)


# The second look of `auto` is the first that knows how large the faces are.
CASES = tuple(
    LoopCase(faces, every, looks, warmup)
    for faces in (1, 4)
    for every, looks, warmup in ((1, "far", 2), (1, "near", 2), (10, "far", 2), (10, "auto", 11))
)


def count_loop(
    userland: Userland, clip: Path, classifier: Path, detector: Path, cases: Sequence[LoopCase] = CASES
) -> list[InstructionRow]:
    """Rows for every case: the mean of 20 frames of the sample clip, for each stage and for all of them.

    Raises GuestError where the loop fails or finds another number of faces than there are.
    """
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npz"
        one = clip_frames(clip, max(case.warmup for case in cases) + _MEASURED)
        np.savez(frames, one=one, four=np.stack([four_times(image) for image in one]))
        asked = [("one" if case.faces == 1 else "four", case.every, case.range, case.warmup) for case in cases]
        words = [str(path.absolute()) for path in (classifier, detector, frames)]
        printed, marks = run_guest(userland, "loop.py", [*words, json.dumps(asked)])
    found, digest = json.loads(printed.splitlines()[-1]), _digest(classifier, detector)
    rows, frames_of_all = [], _by_frame(marks)
    for case, counts in zip(cases, found, strict=True):
        mine, frames_of_all = frames_of_all[: len(counts)], frames_of_all[len(counts) :]
        if set(counts[:_MEASURED]) != {case.faces}:
            raise GuestError(f"{case.name}: found {counts} faces, expected {case.faces} in each frame.")
        rows += _rows(userland, case, mine[:_MEASURED], digest)
    return rows


def count_looks(userland: Userland, clip: Path, cases: Sequence[LookCase]) -> list[InstructionRow]:
    """A row for every detector and canvas: the median of three looks at a frame of the clip.

    Raises GuestError where one does not find the one face.
    """
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npz"
        np.savez(frames, one=clip_frames(clip, 1))
        asked = [(case.detector, str(case.file.absolute()), case.side_px) for case in cases]
        printed, marks = run_guest(userland, "look.py", [str(frames), json.dumps(asked)])
    if set(found := json.loads(printed.splitlines()[-1])) != {1}:
        raise GuestError(f"found {found} faces, expected one with each detector.")
    runs = zip(cases, _by_frame(marks), strict=True)
    return [_row(userland, case.name, sha256_of(case.file), *_medians(run)) for case, run in runs]


def _medians(marks: Sequence[Mark]) -> tuple[float, float]:
    counts = [(b.instructions - a.instructions, b.dot_products - a.dot_products) for a, b in pairwise(marks)]
    instructions, dots = np.median(counts, axis=0)
    return float(instructions), float(dots)


def clip_frames(clip: Path, count: int) -> NDArray[np.uint8]:
    """Frames (count, 480, 640, 3) uint8 of the right part of the clip, where the face is. Raises DataError."""
    capture, images = cv2.VideoCapture(str(clip)), []
    while len(images) < count and (found := capture.read())[0]:
        image = np.asarray(found[1], dtype=np.uint8)
        scale = _HEIGHT_PX / image.shape[0]
        large = cv2.resize(image, (round(image.shape[1] * scale), _HEIGHT_PX), interpolation=cv2.INTER_AREA)
        images.append(np.asarray(large[:, -_WIDTH_PX:], dtype=np.uint8))
    capture.release()
    if len(images) < count:
        raise DataError(f"{clip}: {len(images)} frames, expected {count}. Bring it with `fer-edge-lab media`.")
    return np.stack(images)


def four_times(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture four times at half its size, as large as before."""
    half = cv2.resize(image, (_WIDTH_PX // 2, _HEIGHT_PX // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(np.tile(half, (2, 2, 1)), dtype=np.uint8)


def _by_frame(marks: Sequence[Mark]) -> list[list[Mark]]:
    """A frame's marks begin with 0."""
    frames: list[list[Mark]] = []
    for mark in marks:
        if mark.number == 0:
            frames.append([])
        frames[-1].append(mark)
    return frames


def _rows(userland: Userland, case: LoopCase, frames: list[list[Mark]], digest: str) -> list[InstructionRow]:
    instructions = np.array([[b.instructions - a.instructions for a, b in pairwise(frame)] for frame in frames])
    dots = np.array([[b.dot_products - a.dot_products for a, b in pairwise(frame)] for frame in frames])
    named = zip(_STAGES, instructions.mean(axis=0), dots.mean(axis=0), strict=True)
    totals = [("total", instructions.sum(axis=1).mean(), dots.sum(axis=1).mean())]
    return [_row(userland, f"{case.name}: {stage}", digest, *counts) for stage, *counts in (*named, *totals)]


def _row(userland: Userland, name: str, digest: str, instructions: float, dot_products: float) -> InstructionRow:
    return InstructionRow(
        model=name,
        model_sha256=hashlib.sha256(f"{name}\n{digest}".encode()).hexdigest(),
        engine=ENGINE,
        engine_version=__version__,
        cpu=userland.core.name,
        suite=userland.core.suite,
        instructions=round(float(instructions)),
        dot_products=round(float(dot_products)),
    )


def _digest(*files: Path) -> str:
    return "\n".join(sha256_of(path) for path in files)
