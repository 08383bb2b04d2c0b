"""Where the faces of a frame are: a look at the whole of it, or at the places where known faces should be.

A detector that looks at one place follows the faces it has found, and looks at the whole now and then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import Detector, FollowingDetector
from fer_edge.detectors.geometry import within_reach
from fer_edge.errors import ModelError
from fer_edge.frames import Box, Detection, Frame
from fer_edge.looking_range import LookingRange
from fer_edge.schedule import DetectionSchedule
from fer_edge.tracker import IouTracker, intersection_over_union
from fer_edge.troubles import Troubles

# Two tracks that overlap by more follow one face; a detection that overlaps a track by this much is its face.
_SAME_FACE_IOU, _FOUND_IOU = 0.3, 0.2
# A detector may stumble over a picture. One that fails on so many in a row is broken.
_MAX_FAILURES = 30


@dataclass(frozen=True)
class Look:
    """Detections of one frame, in its pixels.

    `found` is all that may be a face in the whole frame, best first, and None where nobody looked at the whole of it;
    `sure` are those of it that are faces. `again` are known faces found where they were expected, by track id, and
    None where nobody looked for them.
    """

    found: list[Detection] | None = None
    sure: tuple[Detection, ...] = ()
    again: dict[int, Detection] | None = None


NOT_LOOKED = Look()


class FaceFinder:
    """Finds the faces in the frames of one source.

    The whole frame is looked at when `schedule` says so, and at once where a known face is not found again, or where so
    many are known that it is cheaper. Else known faces are followed, if the detector can do that. `looks` says how far
    a detector looks that can do both; without it, as far as its file was made for.
    """

    def __init__(self, detector: Detector, schedule: DetectionSchedule, looks: LookingRange | None = None) -> None:
        self.detector, self.schedule = detector, schedule
        # Detection reads each n-th pixel where the board is too slow for all of them; a rate governor sets it.
        self.pixel_step = 1
        self.failures = 0
        self._follower = FaceFollower(detector)
        self.looks = looks if self._follower.is_able else None
        self._troubles = Troubles()
        self._failed_in_a_row = 0

    def look(self, frame: Frame, tracker: IouTracker) -> Look:
        """Detect the faces of the frame, in which the faces of `tracker` are expected.

        Raises ModelError when the detector fails on one frame after the other.
        """
        image = frame.for_detection
        scale = image.shape[1] / frame.image_bgr.shape[1]
        expected = {track_id: _scaled(box, scale) for track_id, box in tracker.expected.items()}
        is_due = self.schedule.due(image, frame.captured_at_s) or self._is_forced(len(expected), tracker)
        try:
            look = self._looked(image, expected, is_due=is_due)
        except Exception as error:  # whatever an engine raises over one picture, the next may be well again
            self.note_failure(error)
            return NOT_LOOKED
        if look is not NOT_LOOKED:
            self._failed_in_a_row = 0
        self._note(look, max(image.shape[:2]), frame.captured_at_s)
        return _in_frame(look, 1 / scale)

    def forget(self) -> None:
        """The next frame has nothing to do with those before."""
        self.schedule.forget()
        if self.looks is not None:
            self.looks.forget()

    def _note(self, look: Look, picture_px: int, time_s: float) -> None:
        if self.looks is not None:
            seen = (*look.sure, *(look.again or {}).values())
            self.looks.note((one.box for one in seen), picture_px, time_s)

    def _is_forced(self, count: int, tracker: IouTracker) -> bool:
        """Whether the whole frame is looked at before its time."""
        if self.schedule.still or not count or self._follower.can_follow(count):
            return False
        if self._follower.is_able:  # too many to follow
            return self.schedule.waited_frames >= self.schedule.stretch
        return tracker.is_stale and self.schedule.stretch == 1

    def _looked(self, image: NDArray[np.uint8], expected: dict[int, Box], *, is_due: bool) -> Look:
        again: dict[int, Detection] | None = None
        if not is_due:
            if self.schedule.still or not self._follower.can_follow(len(expected)):
                return NOT_LOOKED
            again = self._follower.find(image, expected)
            if are_all_there(again, expected):
                return Look(again=again)
        found = self._whole(image)
        sure = [one for one in found if one.score >= self.detector.min_score]
        missed = without_those_seen(expected, sure)
        # The small network sees faces that the whole frame is too small for.
        near = self._follower.find(image, missed) if again is None else again
        kept = [one for track_id, one in near.items() if track_id in missed]
        return Look([*found, *kept], (*sure, *kept))

    def _whole(self, image: NDArray[np.uint8]) -> list[Detection]:
        if self.looks is not None:
            self.detector.side_px = self.looks.next_side_px()
        thinned = self._thinned(image)
        height, width = thinned.shape[:2]
        found = within_reach(self.detector.detect(thinned, faint=True), width, height)
        self.schedule.done()
        return rescaled(found, image.shape[1] / width)

    def _thinned(self, image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Each `pixel_step`-th pixel, but never fewer than the detector takes in."""
        step = min(self.pixel_step, max(max(image_bgr.shape[:2]) // self.detector.side_px, 1))
        return image_bgr[::step, ::step]

    def note_failure(self, error: Exception) -> None:
        """Count a frame that could not be looked at. Raises ModelError after too many in a row."""
        self.failures += 1
        self._failed_in_a_row += 1
        reason = " ".join(str(error).split()) or type(error).__name__
        name = self.detector.name
        self._troubles.tell(f"detector {name} failed on a frame, which counts as not looked at: {reason}")
        if self._failed_in_a_row >= _MAX_FAILURES:
            raise ModelError(f"detector {name} failed on {_MAX_FAILURES} frames in a row: {reason}")


def rescaled(found: list[Detection], factor: float) -> list[Detection]:
    """Faces found in a smaller copy, in pixels of the frame itself."""
    return found if factor == 1 else [one.enlarged(factor) for one in found]


def _in_frame(look: Look, factor: float) -> Look:
    if factor == 1 or look is NOT_LOOKED:
        return look
    found = None if look.found is None else rescaled(look.found, factor)
    again = None if look.again is None else {key: one.enlarged(factor) for key, one in look.again.items()}
    return Look(found, tuple(rescaled(list(look.sure), factor)), again)


def _scaled(box: Box, factor: float) -> Box:
    return Box(*(edge * factor for edge in (box.left_px, box.top_px, box.width_px, box.height_px)))


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
