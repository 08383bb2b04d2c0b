"""A light tracker: each face moves on at its own speed, and a detection keeps the identity it overlaps most."""

from dataclasses import dataclass

from fer_edge.frames import Box, Detection

_MIN_IOU = 0.2
_FORGET_AFTER_FRAMES = 15
_FORGET_AFTER_MISSES = 3
# Weight of the newest measurement of speed; detectors' boxes tremble by a pixel or two.
_SPEED_SHARE = 0.5
# A face is named at a place where nobody looked for so many frames at most.
MOST_PREDICTED_FRAMES = 3


def intersection_over_union(first: Box, second: Box) -> float:
    """Overlap of two boxes in [0, 1]; 0 when either has no area."""
    width = min(first.left_px + first.width_px, second.left_px + second.width_px) - max(first.left_px, second.left_px)
    height = min(first.top_px + first.height_px, second.top_px + second.height_px) - max(first.top_px, second.top_px)
    overlap = max(width, 0.0) * max(height, 0.0)
    union = first.width_px * first.height_px + second.width_px * second.height_px - overlap
    return min(overlap / union, 1.0) if union > 0 else 0.0


@dataclass
class _Track:
    """A face: where it was found last, where it should be now, and its speed in pixels a frame."""

    found: Detection
    box: Box
    speed_x: float = 0.0
    speed_y: float = 0.0
    age_frames: int = 0
    misses: int = 0
    is_held: bool = False

    def move(self) -> None:
        self.age_frames += 1
        self.box = self.next_box

    def find(self, detection: Detection) -> None:
        """Take a new measurement; the speed follows from how far the centre went since the last one."""
        frames = max(self.age_frames, 1)
        before, now = _centre(self.found.box), _centre(detection.box)
        self.speed_x += _SPEED_SHARE * ((now[0] - before[0]) / frames - self.speed_x)
        self.speed_y += _SPEED_SHARE * ((now[1] - before[1]) / frames - self.speed_y)
        self.found, self.box = detection, detection.box
        self.age_frames = self.misses = 0
        self.is_held = False

    @property
    def next_box(self) -> Box:
        """Where the face should be in the next frame."""
        box = self.box
        return Box(box.left_px + self.speed_x, box.top_px + self.speed_y, box.width_px, box.height_px)

    @property
    def expected(self) -> Detection:
        """The face as it was found last, at its box of now."""
        found, box = self.found, self.box
        gone = box.left_px - found.box.left_px, box.top_px - found.box.top_px
        return Detection(box, found.score, found.keypoints.mapped(1.0, *gone) if found.keypoints else None)

    @property
    def lost(self) -> bool:
        return self.misses >= _FORGET_AFTER_MISSES and self.age_frames > _FORGET_AFTER_FRAMES


class IouTracker:
    """Gives each face a `track_id` that stays.

    Of each frame call one: `update` with all its detections, `confirm` with those of faces that were looked for where
    they were expected, or `predict` where nobody looked.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._next_id = 0

    def update(self, detections: list[Detection]) -> list[int]:
        """Track ids of one frame's detections, in their order."""
        self._move()
        matched = self._match(detections)
        ids = [self._keep(matched.get(position), detection) for position, detection in enumerate(detections)]
        for track_id in self._tracks.keys() - set(ids):
            self._tracks[track_id].misses += 1
        self._tracks = {track_id: track for track_id, track in self._tracks.items() if not track.lost}
        return ids

    @property
    def expected(self) -> dict[int, Box]:
        """Where the faces found last should be in the next frame, by track id."""
        return {track_id: track.next_box for track_id, track in self._tracks.items() if track.misses == 0}

    @property
    def is_stale(self) -> bool:
        """Whether the next frame would be one too many for which a face is predicted."""
        seen = (track for track in self._tracks.values() if track.misses == 0)
        return any(track.age_frames >= MOST_PREDICTED_FRAMES for track in seen)

    def confirm(self, found: dict[int, Detection]) -> None:
        """Take the detections of faces that were looked for one by one; the others only move on."""
        self._move()
        for track_id, detection in found.items():
            self._tracks[track_id].find(detection)

    def predict(self) -> tuple[list[Detection], list[int]]:
        """The faces of the last detection, moved on by one frame, with their ids; none for too many frames in a row."""
        self._move()
        seen = {
            track_id: track
            for track_id, track in self._tracks.items()
            if track.misses == 0 and (track.age_frames <= MOST_PREDICTED_FRAMES or track.is_held)
        }
        return [track.expected for track in seen.values()], list(seen)

    def hold(self) -> None:
        """Nothing moves in the picture: let every face stand still."""
        for track in self._tracks.values():
            track.speed_x = track.speed_y = 0.0
            track.is_held = True

    def forget(self) -> None:
        """Drop all tracks, as between two pictures that have nothing to do with each other. Ids are not used again."""
        self._tracks.clear()

    @property
    def alive(self) -> frozenset[int]:
        """Ids of the tracks still remembered."""
        return frozenset(self._tracks)

    def _move(self) -> None:
        for track in self._tracks.values():
            track.move()

    def _match(self, detections: list[Detection]) -> dict[int, int]:
        """Track ids by position among the detections, best overlap first."""
        pairs = sorted(
            (
                (intersection_over_union(track.box, detection.box), track_id, position)
                for track_id, track in self._tracks.items()
                for position, detection in enumerate(detections)
            ),
            key=lambda pair: -pair[0],
        )
        matched: dict[int, int] = {}
        taken: set[int] = set()
        for overlap, track_id, position in pairs:
            if overlap >= _MIN_IOU and position not in matched and track_id not in taken:
                matched[position] = track_id
                taken.add(track_id)
        return matched

    def _keep(self, track_id: int | None, detection: Detection) -> int:
        if track_id is None:
            track_id, self._next_id = self._next_id, self._next_id + 1
            self._tracks[track_id] = _Track(detection, detection.box)
        else:
            self._tracks[track_id].find(detection)
        return track_id


def _centre(box: Box) -> tuple[float, float]:
    return box.left_px + box.width_px / 2, box.top_px + box.height_px / 2
