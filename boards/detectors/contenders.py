"""The detectors that are compared: ours on several canvases, MediaPipe's, and what others use, each in a process."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import Detector, open_detector
from fer_edge.errors import DataError
from fer_edge.frames import Box

from boards.detectors.recall import Found

LEAST_SCORE = 0.3
"""Boxes of lower scores are not even looked at."""
SIDES_PX = (128, 160, 192, 224, 256, 320, 416)
_PEER = Path(__file__).parent / "peer.py"
# Exact, because their successors find other faces.
_PACKAGES = {
    "haar": ("opencv-python-headless==4.11.0.86",),
    "mtcnn": ("facenet-pytorch==2.6.0",),
    "opencv yunet": (),
}


@dataclass(frozen=True)
class Answer:
    """Detections in one scene, and the processor time they took."""

    found: tuple[Found, ...]
    cpu_ms: float


@dataclass(frozen=True)
class Contender:
    """A detector by name. `side_px` is the longer side of its canvas, `min_score` its own threshold."""

    name: str
    side_px: int | None
    min_score: float
    ask: Callable[[NDArray[np.uint8]], Answer]


def ours() -> list[Contender]:
    """YuNet INT8 on canvases from 128 to 416 pixels, where it was made, and MediaPipe. Raises ModelError."""
    made = []
    for side_px in SIDES_PX:
        detector = open_detector("yunet", min_score=LEAST_SCORE)
        detector.side_px = side_px
        default = open_detector("yunet")
        default.side_px = side_px
        made.append(Contender("yunet int8", side_px, default.min_score, _asking(detector)))
    default_of_mediapipe = open_detector("mediapipe").min_score
    detector = open_detector("mediapipe", min_score=LEAST_SCORE)
    return [*made, Contender("mediapipe", detector.side_px, default_of_mediapipe, _asking(detector))]


def _asking(detector: Detector) -> Callable[[NDArray[np.uint8]], Answer]:
    def ask(image: NDArray[np.uint8]) -> Answer:
        began_s = time.process_time()
        found = detector.detect(image)
        cpu_ms = (time.process_time() - began_s) * 1e3
        return Answer(tuple(Found(one.box, one.score) for one in found), cpu_ms)

    return ask


@contextlib.contextmanager
def peer(name: str, folder: Path, yunet_file: Path | None) -> Iterator[Contender]:
    """A detector of others, its packages installed into `folder`, in a process of its own. Raises DataError."""
    site = folder / name.replace(" ", "-")
    if _PACKAGES[name] and not site.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
        finished = subprocess.run([*command, *_PACKAGES[name]], capture_output=True, text=True)
        if finished.returncode != 0:
            raise DataError(f"{name}: {_PACKAGES[name][0]} cannot be installed. Leave it out with --without {name!r}.")
    environ = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(_PEER), name, str(yunet_file or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    )
    try:
        yield Contender(name, None, _read(process, name)["min_score"], lambda image: _answer(process, name, image))
    finally:
        process.communicate()


def _answer(process: "subprocess.Popen[bytes]", name: str, image: NDArray[np.uint8]) -> Answer:
    assert process.stdin is not None
    process.stdin.write(np.ascontiguousarray(image).tobytes())
    process.stdin.flush()
    answer = _read(process, name)
    found = tuple(Found(Box(*row[:4]), row[4]) for row in answer["found"])
    return Answer(found, answer["cpu_ms"])


def _read(process: "subprocess.Popen[bytes]", name: str) -> dict[str, "float | list[list[float]]"]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise DataError(f"{name}: its process ended. Run {_PEER} by hand to see why.")
    answer: dict[str, float | list[list[float]]] = json.loads(line)
    return answer
