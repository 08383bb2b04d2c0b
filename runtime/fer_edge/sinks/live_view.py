"""State of the web page: the newest picture, the newest values, the last minutes of every track, and the last day.

The loop puts results in, the web server's thread takes them out. All of it is bounded.
"""

from __future__ import annotations

import csv
import io
import statistics
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.colours import css_colour
from fer_edge.frames import Face, Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.program.vitals import Vitals
from fer_edge.tasks import TASKS, VALUES

_MINUTES = 24 * 60
_VISITS = 50
# Tracks that began a moment ago and are gone again are slips of the detector.
_SHORTEST_VISIT_S = 1.0
PERIOD_S = 0.25
_HISTORY = 480  # two minutes
_STAGE_WINDOW = 120
_PICTURE_PERIOD_S = 1 / 15
_JPEG_QUALITY = 80
# A picture older than this is sent to nobody who comes.
_OLDEST_S = 10.0


class LiveView:
    """Newest state of the loop, for viewers. `clock_s` is a monotonic clock in seconds."""

    def __init__(
        self,
        pictures: Pictures,
        vitals: Callable[[], Vitals],
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.privacy = pictures.privacy
        self._pictures, self._vitals, self._clock_s = pictures, vitals, clock_s
        self._lock = threading.Lock()
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)
        self._minutes = LiveHistory()
        self._names: tuple[str, ...] = ()
        self._stages: dict[str, deque[float]] = {}
        self._state: dict[str, Any] = {}
        self._state_at_s = self._picture_at_s = float("-inf")
        self._picture: NDArray[np.uint8] | None = None
        self._read_at_s = float("-inf")
        self._jpeg: tuple[int, bytes] = (0, b"")
        self.viewers = 0
        self.state_number = self.picture_number = 0

    def put(self, frame: Frame, result: FrameResult) -> None:
        """Take one frame's result. Costs next to nothing while nobody looks."""
        now_s = self._clock_s()
        self._pictures.see(frame, result)
        with self._lock:
            self._minutes.add(result)
            self._names = TASKS[result.task].names(result.labels)
        for stage, value_ms in result.stage_ms.items():
            self._stages.setdefault(stage, deque(maxlen=_STAGE_WINDOW)).append(value_ms)
        if now_s - self._state_at_s >= PERIOD_S:
            self._state_at_s = now_s
            self._put_state(result, now_s)
        if self.viewers and now_s - self._picture_at_s >= _PICTURE_PERIOD_S:
            self._picture_at_s = now_s
            self._put_picture(self._pictures.of(frame, result))

    def _put_picture(self, picture: NDArray[np.uint8] | None) -> None:
        with self._lock:
            # The last viewer may have left meanwhile.
            if self.viewers and picture is not None and picture is not self._picture:
                self._picture, self._read_at_s = picture, self._pictures.read_at_s
                self.picture_number += 1

    def join(self) -> None:
        """Somebody looks: pictures are drawn from now on."""
        with self._lock:
            self.viewers += 1

    def leave(self) -> None:
        """Somebody looks no more. With the last one the picture is forgotten: the next viewer is not to see it."""
        with self._lock:
            self.viewers -= 1
            if self.viewers == 0:
                self._picture, self._jpeg, self._read_at_s = None, (0, b""), float("-inf")

    def _put_state(self, result: FrameResult, now_s: float) -> None:
        point = {"t": round(now_s, 2), "faces": [_point(face, result.task) for face in result.faces]}
        state = {**self._describe(result), "now": point}
        with self._lock:
            self._state = state
            self._history.append(point)
            self.state_number += 1

    def _describe(self, result: FrameResult) -> dict[str, Any]:
        vitals, task = self._vitals(), TASKS[result.task]
        names = task.names(result.labels)
        return {
            "task": {"kind": task.kind, "low": task.low, "high": task.high, "anchors": dict(task.anchors)},
            # Lists, because JavaScript puts names such as "1" before all others in an object.
            "names": [[name, css_colour(name, names)] for name in names],
            "source": result.source,
            "privacy": self.privacy,
            "size_px": [result.width_px, result.height_px],
            "labels": [[label, css_colour(label, names)] for label in result.labels],
            "faces": [_face(face, result.task) for face in result.faces],
            "unnamed": len(result.unnamed),
            "picture_age_s": self._picture_age_s(),
            "stage_ms": {stage: round(statistics.median(values), 2) for stage, values in self._stages.items()},
            "fps": round(vitals.fps, 1),
            "limit_fps": vitals.rate_limit_fps,
            "effort_level": vitals.effort_level,
            "temp_c": vitals.board.temp_c,
            "throttled": vitals.board.throttled,
            "rss_mb": vitals.board.rss_mb,
            "lost": vitals.lost,
            "unusable_outputs": vitals.unusable_outputs,
        }

    def _picture_age_s(self) -> float | None:
        """How long ago the picture shown was taken; None where none is shown."""
        return None if self._picture is None else round(max(self._clock_s() - self._read_at_s, 0.0), 1)

    def state(self, *, with_history: bool) -> dict[str, Any]:
        """The newest values; with the points of the last two minutes for a viewer who has just come."""
        with self._lock:
            return {**self._state, "history": list(self._history)} if with_history else self._state

    def minutes(self) -> dict[str, Any]:
        """The last day, minute by minute, and who was there; see LiveHistory."""
        with self._lock:
            return self._minutes.as_object()

    def minutes_csv(self) -> str:
        """The last day as a table, a row a minute."""
        with self._lock:
            return self._minutes.as_csv(self._names)

    def jpeg(self) -> tuple[int, bytes]:
        """Number and JPEG of the newest picture, encoded once for all viewers; number 0 while there is none of now."""
        with self._lock:
            number, picture = self.picture_number, self._picture
        if picture is None or self._clock_s() - self._read_at_s > _OLDEST_S:
            return 0, b""
        if number != self._jpeg[0]:
            found, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            self._jpeg = (number, data.tobytes() if found else b"")
        return self._jpeg


def _face(face: Face, task: str) -> dict[str, Any]:
    return {
        "id": face.track_id,
        "expression": face.expression,
        "name": face.names[0],
        "confidence": round(face.confidence, 3),
        "strength": TASKS[task].strength(face.confidence, face.probabilities),
        "p": _rounded(face),
    }


def _point(face: Face, task: str) -> list[Any]:
    """One point of a face in the page's history; values have a place in it, too."""
    return [face.track_id, face.names[0], *([_rounded(face)] if TASKS[task].kind == VALUES else [])]


def _rounded(face: Face) -> list[float]:
    return [round(value, 3) for value in face.probabilities]


@dataclass
class _Minute:
    """Counts of one minute, each face once a frame. `begin_s` is seconds since 1970."""

    begin_s: int
    frames: int = 0
    most_faces: int = 0
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class _Visit:
    """One track: when it was seen first and last, in seconds since 1970, and what was said of it."""

    first_s: float
    last_s: float
    counts: Counter[str] = field(default_factory=Counter)


class LiveHistory:
    """Minutes and visits of one run. `clock_s` gives seconds since 1970."""

    def __init__(self, *, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._minutes: deque[_Minute] = deque(maxlen=_MINUTES)
        self._visits: OrderedDict[int, _Visit] = OrderedDict()

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        now_s = self._clock_s()
        minute = self._minute(int(now_s // 60) * 60)
        minute.frames += 1
        minute.most_faces = max(minute.most_faces, len(result.faces))
        minute.counts.update(name for face in result.faces for name in face.names)
        for face in result.faces:
            visit = self._visits.setdefault(face.track_id, _Visit(now_s, now_s))
            visit.last_s = now_s
            visit.counts.update(face.names)
        while len(self._visits) > _VISITS:
            self._visits.popitem(last=False)

    def _minute(self, begin_s: int) -> _Minute:
        # A clock that is set back goes on in the minute there is.
        if not self._minutes or begin_s > self._minutes[-1].begin_s:
            self._minutes.append(_Minute(begin_s))
        return self._minutes[-1]

    def as_object(self) -> dict[str, Any]:
        """Minutes as [seconds since 1970, frames, most faces at a time, {expression: count}], and visits, newest last,
        as [track id, first, last, commonest expression].
        """
        visits = [
            [track_id, round(visit.first_s, 1), round(visit.last_s, 1), visit.counts.most_common(1)[0][0]]
            for track_id, visit in self._visits.items()
            if visit.last_s - visit.first_s >= _SHORTEST_VISIT_S
        ]
        minutes = [[one.begin_s, one.frames, one.most_faces, dict(one.counts)] for one in self._minutes]
        return {"minutes": minutes, "visits": visits}

    def as_csv(self, names: Iterable[str]) -> str:
        """A row a minute; `names` are the expressions, a column each."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = tuple(names)
        writer.writerow(["minute", "frames", "most_faces", *names])
        for one in self._minutes:
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.begin_s))
            writer.writerow([when, one.frames, one.most_faces, *(one.counts[name] for name in names)])
        return text.getvalue()
