"""Does `--privacy blur` hide faces? Measured on the sample media, by a detector that the runtime did not use.

Where faces are is known from the pictures as they were filmed, by that other detector. Then they are changed (tilted,
dimmed, noisy, partly covered, cut, ...) and go through the runtime. A frame is exposed where more than VISIBLE of a
face can be seen in what is shown.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.classifier import Classifier
from fer_edge.csv_tables import columns_of, read_csv, write_csv
from fer_edge.detectors import Detector
from fer_edge.errors import UsageError
from fer_edge.frames import Box, Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline

from boards.media import MEDIA, SAMPLES

Picture = NDArray[np.uint8]
# Part of a face that may be seen: less shows the edge of a chin or a forehead.
VISIBLE = 0.1
FRAMES = 240
FPS = 24.0
# Two swings of the change in FRAMES.
_PERIOD = 120
# Frames from one cut to the next.
_CUT = 36


@dataclass(frozen=True)
class Scene:
    """One frame of a changed clip: what the camera sees, and the outlines (n, 2) of the faces in it, in pixels."""

    image_bgr: Picture
    faces: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class PrivacyRow:
    """Measurements of one changed clip. `hidden` is the part of the picture's area that is hidden."""

    detector: str
    judge: str
    clip: str
    change: str
    frames: int
    with_face: int
    exposed: int
    found_by_judge: int
    hidden_median: float
    hidden_p95: float


COLUMNS = columns_of(PrivacyRow)


def outlines(judge: Detector, image_bgr: Picture) -> tuple[NDArray[np.float64], ...]:
    """An ellipse (36, 2) in each box the judge finds in a picture as it was filmed."""
    turns = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    boxes = [found.box for found in judge.detect(image_bgr)]
    return tuple(
        np.array([box.left_px + box.width_px / 2, box.top_px + box.height_px / 2])
        + circle * (box.width_px / 2, box.height_px / 2)
        for box in boxes
    )


def measure(
    scenes: Iterable[Scene], pipeline: Pipeline, judge: Detector, name: tuple[str, str], fps: float = FPS
) -> PrivacyRow:
    """Run the scenes through the pipeline with `--privacy blur`; `name` is the clip's and the change's."""
    pictures, shares, seen = Pictures("blur"), [], []
    for index, scene in enumerate(scenes):
        frame = Frame(scene.image_bgr, index, index / fps, "clip")
        shown, visible = shown_of(pictures, frame, pipeline.process(frame))
        shares.append(1 - float(visible.mean()))
        seen.append((bool(scene.faces), _exposed(scene, visible), _found(judge, shown, scene, visible)))
    with_face, exposed, found = (sum(column) for column in zip(*seen, strict=True))
    median, p95 = np.percentile(shares, [50, 95])
    return PrivacyRow(
        pipeline.detector.name, judge.name, *name, len(seen), with_face, exposed, found, float(median), float(p95)
    )


def shown_of(pictures: Pictures, frame: Frame, result: FrameResult) -> tuple[Picture, NDArray[np.bool_]]:
    """Render the picture that is shown, and say which of its pixels (h, w) are those of the frame.

    The second is seen from what becomes of noise that goes the same way, because a hidden pixel may have its own colour
    by chance.
    """
    shown = pictures.of(frame, result)
    noise = np.random.default_rng(0).integers(0, 256, frame.image_bgr.shape, dtype=np.uint8)
    bare = dataclasses.replace(result, faces=(), unnamed=tuple(face.box_px for face in result.faces) + result.unnamed)
    probe = Pictures("blur").of(dataclasses.replace(frame, image_bgr=noise), bare)
    if shown is None or probe is None:
        return np.zeros_like(frame.image_bgr), np.zeros(noise.shape[:2], dtype=np.bool_)
    return shown, (probe == noise).all(axis=2)


def _exposed(scene: Scene, visible: NDArray[np.bool_]) -> bool:
    """Is more than VISIBLE of a face to be seen? Of one at the edge, the part inside counts."""
    for face in scene.faces:
        mask = np.zeros(visible.shape, dtype=np.uint8)
        cv2.fillPoly(mask, [np.round(face).astype(np.int32)], 1)
        inside = mask.astype(np.bool_)
        if inside.any() and visible[inside].mean() > VISIBLE:
            return True
    return False


def _found(judge: Detector, shown: Picture, scene: Scene, visible: NDArray[np.bool_]) -> bool:
    """Does the judge find a known face in what is shown, somewhere that is not blocks alone?"""
    for found in judge.detect(shown):
        box = found.box
        centre = (box.left_px + box.width_px / 2, box.top_px + box.height_px / 2)
        known = any(cv2.pointPolygonTest(face.astype(np.float32), centre, False) >= 0 for face in scene.faces)
        if known and _part_of(visible, box).mean() > VISIBLE:
            return True
    return False


def _part_of(visible: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
    rows = slice(max(round(box.top_px), 0), max(round(box.top_px + box.height_px), 1))
    columns = slice(max(round(box.left_px), 0), max(round(box.left_px + box.width_px), 1))
    return visible[rows, columns]


def frames_of(path: Path) -> Iterator[Picture]:
    """The pictures of a video file."""
    capture = cv2.VideoCapture(str(path))
    found, image = capture.read()
    while found:
        yield np.asarray(image, dtype=np.uint8)
        found, image = capture.read()
    capture.release()


def swing(index: int) -> float:
    """From 0 to 1 and back, twice in FRAMES."""
    return 0.5 - 0.5 * float(np.cos(2 * np.pi * index / _PERIOD))


def moved(scene: Scene, matrix: NDArray[np.float64]) -> Scene:
    """The scene under an affine map (2, 3); what comes in from outside is grey."""
    height, width = scene.image_bgr.shape[:2]
    image = cv2.warpAffine(scene.image_bgr, matrix, (width, height), flags=cv2.INTER_AREA, borderValue=(90, 100, 110))
    faces = tuple(face @ matrix[:, :2].T + matrix[:, 2] for face in scene.faces)
    return Scene(np.asarray(image, dtype=np.uint8), faces)


def tilted(scene: Scene, index: int) -> Scene:
    """The head leans to 80 degrees on one side, then on the other."""
    height, width = scene.image_bgr.shape[:2]
    turn = 80 * float(np.sin(2 * np.pi * index / _PERIOD))
    return moved(scene, cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0))


def dimmed(scene: Scene, index: int) -> Scene:
    """The light goes down to a twentieth and comes back."""
    light = 0.05 ** swing(index)
    return dataclasses.replace(scene, image_bgr=(scene.image_bgr * light).astype(np.uint8))


def noisy(scene: Scene, index: int) -> Scene:
    """Sensor noise up to a standard deviation of 80 grey values."""
    noise = np.random.default_rng(index).normal(0, 80 * swing(index), scene.image_bgr.shape)
    return dataclasses.replace(scene, image_bgr=np.clip(scene.image_bgr + noise, 0, 255).astype(np.uint8))


def covered(scene: Scene, index: int) -> Scene:
    """Something grey comes over 60 % of each face: over its lower part, then its left, its upper and its right part."""
    image, share = scene.image_bgr.copy(), 0.6 * abs(float(np.sin(2 * np.pi * index / _PERIOD)))
    side = index // (_PERIOD // 2) % 4
    for face in scene.faces:
        (left, top), (right, bottom) = face.min(axis=0), face.max(axis=0)
        across, along = share * (right - left), share * (bottom - top)
        edges = [
            (left, bottom - along, right, bottom),
            (left, top, left + across, bottom),
            (left, top, right, top + along),
            (right - across, top, right, bottom),
        ][side]
        left_px, top_px, right_px, bottom_px = (max(round(float(edge)), 0) for edge in edges)
        image[top_px:bottom_px, left_px:right_px] = (95, 105, 115)
    return dataclasses.replace(scene, image_bgr=image)


def flipped(scene: Scene, index: int) -> Scene:
    """Mirrored for every second half second."""
    if index // 12 % 2 == 0:
        return scene
    width = scene.image_bgr.shape[1]
    return moved(scene, np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]]))


def passing(scene: Scene, index: int) -> Scene:
    """The picture slides to the left and to the right until the face has left it, up to 27 pixels a frame."""
    width = scene.image_bgr.shape[1]
    shift = 0.8 * width * float(np.sin(2 * np.pi * index / _PERIOD))
    return moved(scene, np.array([[1.0, 0.0, shift], [0.0, 1.0, 0.0]]))


def coming_in(scene: Scene, index: int) -> Scene:
    """Nobody for a second; then the face comes in from the right at 8 pixels a frame, as somebody who walks."""
    away = max(scene.image_bgr.shape[1] - 8 * max(index - round(FPS), 0), 0)
    return moved(scene, np.array([[1.0, 0.0, away], [0.0, 1.0, 0.0]]))


CHANGES: dict[str, Callable[[Scene, int], Scene]] = {
    "none": lambda scene, index: scene,
    "tilt": tilted,
    "dimming": dimmed,
    "noise": noisy,
    "partial covering": covered,
    "mirrored each half second": flipped,
    "passing": passing,
    "coming in": coming_in,
}


def sample_clips(judge: Detector, folder: Path = MEDIA) -> dict[str, list[Scene]]:
    """The sample media as clips of known faces: the clip, the photograph beside it, and both cut into one another.

    Raises UsageError where they are absent.
    """
    paths = [folder / sample.filename for sample in SAMPLES]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path} not found. Bring it with `fer-edge-lab media`.")
    clip = [Scene(image, outlines(judge, image)) for image in frames_of(paths[0])]
    photograph = np.asarray(cv2.imread(str(paths[1])), dtype=np.uint8)
    height = clip[0].image_bgr.shape[0]
    still = cv2.resize(photograph, (height, height), interpolation=cv2.INTER_AREA)
    beside = [_beside(scene, Scene(still, outlines(judge, still))) for scene in clip[:FRAMES]]
    alone = np.zeros_like(clip[0].image_bgr)
    alone[:, :height] = still
    other = Scene(alone, outlines(judge, alone))
    cuts = [other if index // _CUT % 2 else clip[index] for index in range(FRAMES)]
    return {"clip": clip, "two people": beside, "cuts": cuts}


def _beside(left: Scene, right: Scene) -> Scene:
    offset = np.array([left.image_bgr.shape[1], 0])
    image = np.concatenate([left.image_bgr, right.image_bgr], axis=1)
    return Scene(image, (*left.faces, *(face + offset for face in right.faces)))


def measure_all(
    detector: Detector, judge: Detector, classifier: Classifier, clips: dict[str, list[Scene]]
) -> Iterator[PrivacyRow]:
    """A row for every clip and change; those of the whole clip as it is, and FRAMES of it under each change."""
    for (name, scenes), (change, apply) in itertools.product(clips.items(), CHANGES.items()):
        taken = scenes if change == "none" else scenes[:FRAMES]
        changed = (apply(scene, index) for index, scene in enumerate(taken))
        yield measure(changed, Pipeline(detector, classifier, watch_edges=True), judge, (name, change))


def write_privacy(path: Path, rows: Iterable[PrivacyRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, PrivacyRow, rows)


def table(path: Path) -> str:
    """Markdown: exposed frames and the hidden share of the picture, from a CSV that `write_privacy` wrote.

    Raises DataError for a file that cannot be read.
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in read_csv(path, PrivacyRow):
        shown = f"{row.exposed} of {row.frames} | {row.hidden_median:.0%} ({row.hidden_p95:.0%})"
        cells.setdefault((row.clip, row.change), {})[row.detector] = shown
    detectors = list(next(iter(cells.values()), {}))
    head = "".join(f" {detector}: exposed | hidden |" for detector in detectors)
    lines = [f"| clip | change |{head}", "|---|---|" + "---|---|" * len(detectors)]
    for (clip, change), found in cells.items():
        lines.append(f"| {clip} | {change} | " + " | ".join(found[detector] for detector in detectors) + " |")
    return "\n".join(lines)
