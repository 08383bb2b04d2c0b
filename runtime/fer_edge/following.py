"""Following known faces between two looks at the whole frame, each on a small cut around the place it should be at."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import Detector, FollowingDetector
from fer_edge.detectors.geometry import within_reach
from fer_edge.frames import Box, Detection
from fer_edge.tracker import intersection_over_union

# Two tracks that overlap by more follow one face; a detection that overlaps a track by this much is its face.
_SAME_FACE_IOU, _FOUND_IOU = 0.3, 0.2


class FaceFollower:
    """Follows faces where the detector can, and where that is cheaper than a look at the whole frame.

    Places are in pixels of the image they are looked for in, by track id.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector if isinstance(detector, FollowingDetector) else None

    @property
    def is_able(self) -> bool:
        """Whether the detector can follow faces at all."""
        return self._detector is not None and self._detector.follows_at_most > 0

    def can_follow(self, count: int) -> bool:
        """Whether so many faces are followed; else the whole frame is looked at."""
        return self._detector is not None and 0 < count <= self._detector.follows_at_most

    def find(self, image_bgr: NDArray[np.uint8], expected: dict[int, Box]) -> dict[int, Detection]:
        """Those of the expected faces that are there in an image (h, w, 3) uint8. Raises what the detector raises."""
        if self._detector is None or not self.can_follow(len(expected)):
            return {}
        height, width = image_bgr.shape[:2]
        looked = {track_id: self._detector.follow(image_bgr, box) for track_id, box in expected.items()}
        return {
            track_id: kept
            for track_id, one in looked.items()
            for kept in within_reach([] if one is None else [one], width, height)
        }


def are_all_there(found: dict[int, Detection], expected: dict[int, Box]) -> bool:
    """Whether every expected face was found, and no two tracks found the same one."""
    pairs = combinations(found.values(), 2)
    twice = any(intersection_over_union(one.box, other.box) > _SAME_FACE_IOU for one, other in pairs)
    return len(found) == len(expected) and not twice


def without_those_seen(expected: dict[int, Box], seen: Sequence[Detection]) -> dict[int, Box]:
    """The expected faces that none of the detections can be."""
    return {
        track_id: box
        for track_id, box in expected.items()
        if not any(intersection_over_union(box, one.box) >= _FOUND_IOU for one in seen)
    }
