"""A light tracker: detections keep the identity of the track they overlap most (IoU, greedy)."""

from dataclasses import dataclass

from fer_edge.frames import Box, Detection

_MIN_IOU = 0.3
_FORGET_AFTER_FRAMES = 15


def intersection_over_union(first: Box, second: Box) -> float:
    """Overlap of two boxes in [0, 1]; 0 when either has no area."""
    width = min(first.left_px + first.width_px, second.left_px + second.width_px) - max(first.left_px, second.left_px)
    height = min(first.top_px + first.height_px, second.top_px + second.height_px) - max(first.top_px, second.top_px)
    overlap = max(width, 0.0) * max(height, 0.0)
    union = first.width_px * first.height_px + second.width_px * second.height_px - overlap
    return overlap / union if union > 0 else 0.0


@dataclass
class _Track:
    box: Box
    missed_frames: int = 0


class IouTracker:
    """Gives each detection a `track_id` that stays with a face moving less than about half its size a frame."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._next_id = 0

    def update(self, detections: list[Detection]) -> list[int]:
        """Track ids of one frame's detections, in their order."""
        ids = self._match(detections)
        for track_id, track in list(self._tracks.items()):
            if track_id not in ids:
                track.missed_frames += 1
                if track.missed_frames > _FORGET_AFTER_FRAMES:
                    del self._tracks[track_id]
        return ids

    def forget(self) -> None:
        """Drop all tracks, as between two pictures that have nothing to do with each other. Ids are not used again."""
        self._tracks.clear()

    @property
    def alive(self) -> frozenset[int]:
        """Ids of the tracks still remembered."""
        return frozenset(self._tracks)

    def _match(self, detections: list[Detection]) -> list[int]:
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
        return [self._keep(matched.get(position), detection) for position, detection in enumerate(detections)]

    def _keep(self, track_id: int | None, detection: Detection) -> int:
        if track_id is None:
            track_id, self._next_id = self._next_id, self._next_id + 1
        self._tracks[track_id] = _Track(detection.box)
        return track_id
