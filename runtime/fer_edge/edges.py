"""Faces that come in at the left and right edge of the picture, before a detector finds them there.

Detectors miss most faces of which half is outside the picture. Mirrored at the edge, half a face is a whole one: of
faces 30 to 70 % outside, MediaPipe then misses 2 in 100 and not 9 in 10. So both edges, each with its mirror image,
are put side by side and looked at as one picture. Edges and moving parts take turns, so
that each frame costs little.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import Detector
from fer_edge.detectors.geometry import within_reach
from fer_edge.frames import Box, Detection
from fer_edge.motion import MotionGate
from fer_edge.regions import Region

# Weight of the newest measurement of a face's time.
_SHARE = 0.3
# Part of a strip that is mirror image.
_MIRRORED = 0.25
# What moves there is looked at in every second picture, and what does not once in so long: it may be too dark to be
# seen moving.
_WATCHED, _LOOK_S = 0.3, 0.5
# What a face is wider by than its box, and how much of something it hides if that is a part of it.
_HAIR, _MOSTLY = 0.35, 0.6
# A mirrored picture may look like a face without being one: below the first score it mostly does, and what is found in
# it is never more than faint.
_LEAST_SCORE, _MOST_SCORE = 0.27, 0.45


@dataclass(frozen=True, eq=False)
class _Strip:
    """An edge with its mirror image, (side, side / 2, 3) uint8; `left_px` is where it begins in the picture."""

    image_bgr: NDArray[np.uint8]
    left_px: int
    scale: float


class EdgeWatch:
    """Looks at the edges of one source's pictures where something moves there."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._gate = MotionGate([_upright(0.0, _WATCHED), _upright(1.0 - _WATCHED, 1.0)])
        self._looked = False
        self._looked_at_s = float("-inf")

    def look(self, image_bgr: NDArray[np.uint8], time_s: float, known: Sequence[Detection] = ()) -> list[Detection]:
        """Find possible faces at the edges of a picture (h, w, 3) uint8 of `time_s`, in its pixels.

        Those of which `known` faces hide most are left out. Empty where nothing moved. Raises what the detector raises.
        """
        self._looked = not self._looked and self._is_due(image_bgr, time_s)
        if not self._looked:
            return []
        self._looked_at_s = time_s
        self._gate.accept()
        height, width = image_bgr.shape[:2]
        # The mirror images meet in the middle.
        right, left = (_strip(image_bgr, self._detector.side_px, at_left=at_left) for at_left in (False, True))
        found = self._detector.detect(np.concatenate([right.image_bgr, left.image_bgr], axis=1), faint=True)
        half_px = right.image_bgr.shape[1]
        likely = [_in_picture(one, right, left, half_px) for one in found if one.score >= _LEAST_SCORE]
        in_reach = within_reach(likely, width, height)
        return [one for one in in_reach if not any(_hides(face.box, one.box, width) for face in known)]

    def _is_due(self, image_bgr: NDArray[np.uint8], time_s: float) -> bool:
        return self._gate.moved(image_bgr) or not 0 <= time_s - self._looked_at_s < _LOOK_S

    def forget(self) -> None:
        """Reset."""
        self._gate.forget()
        self._looked = False
        self._looked_at_s = float("-inf")


def _hides(face: Box, box: Box, width_px: int) -> bool:
    """Does a face with its hair and chin hide most of that part of `box` that lies in the picture?"""
    margin = _HAIR * max(face.width_px, face.height_px)
    left, right = max(box.left_px, 0.0), min(box.left_px + box.width_px, width_px)
    across = min(right, face.left_px + face.width_px + margin) - max(left, face.left_px - margin)
    bottom = min(box.top_px + box.height_px, face.top_px + face.height_px + margin)
    along = bottom - max(box.top_px, face.top_px - margin)
    return max(across, 0.0) * max(along, 0.0) > _MOSTLY * max(right - left, 0.0) * box.height_px


def _upright(left: float, right: float) -> Region:
    return Region(((left, 0.0), (right, 0.0), (right, 1.0), (left, 1.0)))


def _strip(image_bgr: NDArray[np.uint8], side_px: int, *, at_left: bool) -> _Strip:
    height, width = image_bgr.shape[:2]
    scale, half_px = side_px / height, side_px // 2
    whole_px = round(half_px / scale)
    mirrored_px = max(round(_MIRRORED * whole_px), 1)
    seen_px = max(min(whole_px - mirrored_px, width), 1)
    mirrored_px = min(mirrored_px, seen_px)
    seen = image_bgr[:, :seen_px] if at_left else image_bgr[:, width - seen_px :]
    mirrored = seen[:, mirrored_px - 1 :: -1][:, :mirrored_px] if at_left else seen[:, : -mirrored_px - 1 : -1]
    whole = np.concatenate([mirrored, seen] if at_left else [seen, mirrored], axis=1)
    sized = cv2.resize(whole, (max(round(whole.shape[1] * scale), 1), side_px), interpolation=cv2.INTER_AREA)
    return _Strip(np.asarray(sized, dtype=np.uint8), -mirrored_px if at_left else width - seen_px, scale)


def _in_picture(found: Detection, right: _Strip, left: _Strip, half_px: int) -> Detection:
    """A detection in the strips, in pixels of the picture."""
    box = found.box
    at_left = box.left_px + box.width_px / 2 >= half_px
    strip, offset_px = (left, half_px) if at_left else (right, 0)
    scale = strip.scale
    x_px = strip.left_px + (box.left_px - offset_px) / scale
    return Detection(
        Box(x_px, box.top_px / scale, box.width_px / scale, box.height_px / scale), min(found.score, _MOST_SCORE)
    )


class Turns:
    """Gives every face its turn: first those never looked at, then those looked at longest ago.

    `budget_s` is the time a frame has for faces, None for as long as it takes. A rate governor sets it for live
    sources; what is read from a file is always looked at whole, so that it gives the same results at any speed. Time
    that a frame leaves unused is saved up for one face that takes longer than a frame has.
    """

    def __init__(self) -> None:
        self.budget_s: float | None = None
        self._face_s = self._saved_s = 0.0
        # Tracks in the order in which they were looked at last.
        self._looked_at: dict[int, None] = {}

    def of(self, track_ids: Sequence[int], alive: Set[int]) -> list[int]:
        """The positions of the faces whose turn it is in the next frame, in their order.

        Tracks no longer `alive` are forgotten. A face that was never looked at is not kept waiting while no other is.
        """
        order = {track_id: place for place, track_id in enumerate(self._looked_at) if track_id in alive}
        waiting = sorted(range(len(track_ids)), key=lambda place: order.get(track_ids[place], -1))
        has_new = any(track_id not in order for track_id in track_ids)
        chosen = waiting[: max(self._affordable(len(track_ids)), int(has_new))]
        now = [track_ids[place] for place in chosen]
        self._looked_at = dict.fromkeys([*(track_id for track_id in order if track_id not in now), *now])
        return sorted(chosen)

    def took(self, faces: int, elapsed_s: float) -> None:
        """The classifier took `elapsed_s` for so many faces."""
        if faces == 0:
            return
        face_s = elapsed_s / faces
        self._face_s = face_s if self._face_s == 0 else self._face_s + _SHARE * (face_s - self._face_s)
        self._saved_s = 0.0

    def _affordable(self, faces: int) -> int:
        """How many of so many faces there is time for."""
        if self.budget_s is None or self._face_s == 0:
            return faces
        self._saved_s = min(self._saved_s + self.budget_s, max(self.budget_s, self._face_s))
        return min(int(self._saved_s / self._face_s + 1e-9), faces)
