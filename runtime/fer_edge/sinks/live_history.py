"""History of the last day for the web page: how often each expression was seen, minute by minute, and who was there.

Memory is bounded: a day of minutes, and the newest visits.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fer_edge.frames import FrameResult

_MINUTES = 24 * 60
_VISITS = 50
# Tracks that began a moment ago and are gone again are slips of the detector.
_SHORTEST_VISIT_S = 1.0


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
