"""A run as a picture: one self-contained page, made of the JSON lines that the run wrote."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from fer_edge.colours import css_colour
from fer_edge.errors import DataError
from fer_edge.files import atomic_write, open_regular
from fer_edge.tasks import TASKS, holding

# What a page can show: more steps in time are joined in pairs, and of more tracks the longest are kept.
_MAX_STEPS = 1200
_MAX_TRACKS = 24
# A frame of a video at 25 frames/s.
_FIRST_STEP_S = 0.04
_TRACKS_IN_MEMORY = 256
# No line of results is as long, whatever the number of faces.
_LINE_BYTES = 1 << 20
_DATA_MARK = "/*DATA*/"


def write_page(results: Path, page: Path, media: str = "") -> None:
    """Make `page` of `results`, a JSONL file. `media` names, as a link, the annotated video or folder of pictures.

    However long the run was, this takes a few MB of memory: steps in time are joined until they fit on a page. Raises
    DataError where `results` holds no such lines, OSError where `page` cannot be written.
    """
    run = _Run(results, media)
    for number, line in enumerate(_lines(results), 1):
        try:
            run.add(line)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
            raise DataError(
                f"{results}, line {number}: not a result of fer-edge. Expected the lines that --jsonl writes."
            ) from None
    if run.frames == 0:
        raise DataError(f"{results}: no results in it.")
    template = (files("fer_edge") / "data" / "page" / "timeline.html").read_text(encoding="utf-8")
    # "<" would end the script where a label or a name says so.
    data = json.dumps(run.as_object(), allow_nan=False).replace("<", "\\u003c")
    with atomic_write(page) as part:
        part.write_text(template.replace(_DATA_MARK, data), encoding="utf-8", errors="replace")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open_regular(path, DataError) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(_LINE_BYTES), b""), 1):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if not isinstance(found, dict):
                if not line.endswith(b"\n") and number > 1:
                    return  # a run that is still writing, or was cut off
                raise DataError(f"{path}, line {number}: not a JSON object. Expected the lines that --jsonl writes.")
            yield found


@dataclass
class _Step:
    """A track within one step of time: sums over its frames."""

    frames: int
    first_frame: int
    sums: list[float]
    confidence: float
    names: Counter[str]

    def join(self, other: _Step) -> None:
        self.frames += other.frames
        self.first_frame = min(self.first_frame, other.first_frame)
        self.sums = [mine + theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]
        self.confidence += other.confidence
        self.names += other.names

    def as_list(self) -> list[Any]:
        numbers = [round(total / self.frames, 3) for total in self.sums]
        return [self.names.most_common(1)[0][0], round(self.confidence / self.frames, 3), self.first_frame, numbers]


@dataclass
class _Track:
    frames: int = 0
    steps: dict[int, _Step] = field(default_factory=dict)

    def add(self, place: int, step: _Step) -> None:
        self.frames += step.frames
        if place in self.steps:
            self.steps[place].join(step)
        else:
            self.steps[place] = step

    def widen(self) -> None:
        steps, self.steps, self.frames = self.steps, {}, 0
        for place, step in sorted(steps.items()):
            self.add(place // 2, step)


class _Run:
    """All that the page shows, in bounded memory."""

    def __init__(self, results: Path, media: str) -> None:
        self._name, self._media = results.name, media
        self.frames = self._left_out = 0
        self._step_s = _FIRST_STEP_S
        self._sources: list[str] = []
        self._pictures = False
        self._labels: list[str] = []
        self._kind = "probabilities"
        self._begin_s = self._end_s = 0.0
        self._unix_s: float | None = None
        self._tracks: dict[int, _Track] = {}
        self._seen: dict[int, int] = {}
        self._counts: Counter[str] = Counter()

    def add(self, result: dict[str, Any]) -> None:
        """Take one line. Raises what reading a wrong one raises."""
        time_s = _finite(result["time_s"])
        if self.frames == 0:
            self._begin_s = time_s
            self._unix_s = None if "unix_time_s" not in result else _finite(result["unix_time_s"])
        self._note_source(str(result["source"]))
        self.frames += 1
        self._end_s = max(self._end_s, time_s)
        place = self._place(max(time_s - self._begin_s, 0.0))
        self._seen[place] = max(self._seen.get(place, 0), len(result["faces"]))
        for number, face in enumerate(result["faces"]):
            self._add_face(place, int(result["frame_index"]), number, face)

    def _note_source(self, source: str) -> None:
        # Photographs are known by their names, of which each result has another one.
        if len(self._sources) < _MAX_STEPS and (not self._sources or source != self._sources[-1]):
            self._sources.append(source)
        if len(self._sources) == 2 and not self._pictures:
            self._pictures, self._step_s = True, 1.0  # they lie one second apart
            self._tracks = dict(enumerate(self._tracks.values()))

    def _add_face(self, place: int, frame: int, number: int, face: dict[str, Any]) -> None:
        kind = "values" if "values" in face else "probabilities"
        numbers = {str(label): _finite(value) for label, value in face[kind].items()}
        if not self._labels:
            self._labels, self._kind = list(numbers), kind
        names = self._names(str(face["expression"]), numbers)
        self._counts.update(names)
        sums = [numbers[label] for label in self._labels]
        step = _Step(1, frame, sums, _finite(face["confidence"]), Counter(names))
        # Of photographs, faces have nothing to do with those before: rows are first face, second face.
        key = number if self._pictures else int(face["track_id"])
        self._tracks.setdefault(key, _Track()).add(place, step)
        if len(self._tracks) > _TRACKS_IN_MEMORY:
            self._drop_short_tracks(_TRACKS_IN_MEMORY // 2)

    def _names(self, expression: str, numbers: dict[str, float]) -> tuple[str, ...]:
        """The expression, or of labels that hold together each of them: their combinations are too many to count."""
        if self._kind == "values" or expression in numbers:
            return (expression,)
        return holding(tuple(numbers.values()), tuple(numbers))

    def _place(self, since_s: float) -> int:
        while since_s / self._step_s >= _MAX_STEPS:
            self._step_s *= 2
            for track in self._tracks.values():
                track.widen()
            seen: dict[int, int] = {}
            for place, faces in self._seen.items():
                seen[place // 2] = max(seen.get(place // 2, 0), faces)
            self._seen = seen
        return int(since_s / self._step_s)

    def _drop_short_tracks(self, keep: int) -> None:
        by_length = sorted(self._tracks, key=lambda key: self._tracks[key].frames)
        for key in by_length[: max(len(by_length) - keep, 0)]:
            del self._tracks[key]
            self._left_out += 1

    def as_object(self) -> dict[str, Any]:
        """Data for the page's script."""
        self._drop_short_tracks(_MAX_TRACKS)
        names = [*self._labels] if self._kind == "probabilities" else _places(self._counts)
        names += [name for name in self._counts if name not in names]
        return {
            "results": self._name,
            "media": self._media,
            "sources": self._sources if self._pictures else self._sources[:1],
            "pictures": self._pictures,
            "frames": self.frames,
            "step_s": self._step_s,
            "begin_s": self._begin_s,
            "length_s": self._end_s - self._begin_s,
            "unix_s": self._unix_s,
            "kind": self._kind,
            "labels": self._labels,
            "colours": {name: css_colour(name, tuple(names)) for name in names},
            "counts": self._counts.most_common(),
            "left_out": self._left_out,
            "seen": sorted(self._seen.items()),
            "tracks": [
                {"id": key, "steps": [[place, *step.as_list()] for place, step in sorted(track.steps.items())]}
                for key, track in sorted(self._tracks.items())
            ],
        }


def _places(seen: Collection[str]) -> list[str]:
    """The named places of the task of values that has all those seen, so that colours are those of the pictures."""
    tasks = (task.names(()) for task in TASKS.values() if task.anchors)
    return next((list(names) for names in tasks if set(seen) <= set(names)), [])


def _finite(value: Any) -> float:
    """A number of a line. Raises ValueError for one that is none."""
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("not a number")
    return number
