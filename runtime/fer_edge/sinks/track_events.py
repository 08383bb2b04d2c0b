"""Turning results into events: a face came, its expression changed, it left."""

from dataclasses import dataclass

from fer_edge.frames import Face, FrameResult

# A face that is missed for a moment has not left.
_LEFT_AFTER_S = 1.0


@dataclass(frozen=True)
class TrackEvent:
    """Something that happened to one track. `kind` is appeared, changed or left; `before` is the label until now."""

    kind: str
    track_id: int
    expression: str
    before: str | None
    confidence: float
    frame_index: int
    time_s: float


@dataclass
class _Seen:
    face: Face
    at_s: float


class TrackEvents:
    """Compares each frame with what is remembered of its tracks."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def of(self, result: FrameResult) -> list[TrackEvent]:
        """Events of this frame."""
        events = [event for face in result.faces for event in self._meet(face, result)]
        gone = [seen for seen in self._seen.values() if result.captured_at_s - seen.at_s >= _LEFT_AFTER_S]
        for seen in gone:
            del self._seen[seen.face.track_id]
        return events + [_event("left", seen.face, seen.face.expression, result) for seen in gone]

    def _meet(self, face: Face, result: FrameResult) -> list[TrackEvent]:
        seen = self._seen.get(face.track_id)
        self._seen[face.track_id] = _Seen(face, result.captured_at_s)
        if seen is None:
            return [_event("appeared", face, None, result)]
        if seen.face.expression != face.expression:
            return [_event("changed", face, seen.face.expression, result)]
        return []


def _event(kind: str, face: Face, before: str | None, result: FrameResult) -> TrackEvent:
    return TrackEvent(
        kind, face.track_id, face.expression, before, face.confidence, result.frame_index, result.captured_at_s
    )
