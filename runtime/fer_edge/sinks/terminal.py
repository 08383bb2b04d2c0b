"""The terminal: what is seen now, and a summary at the end with a line of time for every expression."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

from fer_edge.colours import terminal_colour
from fer_edge.frames import Face, Frame, FrameResult
from fer_edge.streams import cut_to_width, drop_stdout, printable, right_aligned, width_of
from fer_edge.tasks import TASKS

# A terminal shows so many columns of labels; those seen less often are counted together.
_MOST_COLUMNS = 12
_OTHERS = "(others)"
# Faster than this nobody can read, and a slow serial console would hold up the loop.
_LINES_PER_S = 10
_BAR_CHARS = 20
_NAME_CHARS = 32
# So many pictures without a face are named at the end; the rest are counted.
_NAMED_WITHOUT_FACE = 5

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


class TerminalSink:
    """Prints a line a picture, or a line a frame; on a terminal a video or camera has one line that refreshes itself.

    Ends with a summary: by expression for pictures, by second for all that moves. `pictures` says that each frame is a
    photograph of its own. `frame_count` gives the length of a source where it is known, for a progress bar. `live`
    holds printed lines to ten a second, as the refreshing line always is; the summary counts every frame. `stream` is
    standard output unless given; `clock_s` is a monotonic clock in seconds. Colours go to terminals alone, and not
    where NO_COLOR is set (no-color.org).
    """

    name = "terminal"

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        live: bool = False,
        pictures: bool = False,
        frame_count: Callable[[], int | None] = lambda: None,
        clock_s: Callable[[], float] = time.monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = stream or sys.stdout
        on_terminal = self._stream.isatty()
        self._refreshing = on_terminal and not pictures
        self._limited = live or self._refreshing
        self._pictures, self._frame_count, self._clock_s = pictures, frame_count, clock_s
        coloured = on_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._paint = _painted if coloured else _unpainted
        self._shown_at_s = float("-inf")
        self._summary = _PictureSummary() if pictures else _TimedSummary()

    def __enter__(self) -> TerminalSink:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the summary, also after Ctrl-C or an error: it is true of what was seen."""
        clear = "\r\x1b[K" if self._refreshing and self._summary.frames else ""
        self._say(clear + "\n".join(self._summary.lines()) + "\n")

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Count the frame, and print its line unless one was printed a moment ago."""
        now_s = self._clock_s()
        self._summary.add(result, now_s)
        if self._limited and now_s - self._shown_at_s < 1 / _LINES_PER_S:
            return
        self._shown_at_s = now_s
        if self._pictures:
            self._say(f"{_shortened(printable(Path(result.source).name)):{_NAME_CHARS}}  {self._faces(result)}\n")
        elif self._refreshing:
            self._say(f"\r{self._status(result)}\x1b[K")
        else:
            self._say(one_line(result) + "\n")

    def _faces(self, result: FrameResult) -> str:
        return ", ".join(self._paint(said, face) for said, face in zip(_said(result), result.faces, strict=True)) or (
            "no face"
        )

    def _status(self, result: FrameResult) -> str:
        """The refreshing line, cut to what fits: one that wraps could not be taken back."""
        room = shutil.get_terminal_size().columns - 1
        count = self._frame_count()
        head = self._summary.progress(count) if count else f"{result.captured_at_s:8.1f} s"
        head += f"  {self._summary.rate_fps():5.1f} frames/s  "
        faces = ", ".join(_said(result)) or "no face"
        if width_of(head + faces) > room:
            return cut_to_width(head + faces, room)
        return head + self._faces(result)

    def _say(self, text: str) -> None:
        """Print, unless whoever read has gone: the other sinks still have work to do."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            drop_stdout()


def one_line(result: FrameResult) -> str:
    """A frame in one line: index, time, faces with expression and confidence or values, milliseconds."""
    faces = ", ".join(_said(result))
    count = f"{len(result.faces)} face{'s' if len(result.faces) != 1 else ''}"
    total = f"  {result.stage_ms['total']:.1f} ms" if "total" in result.stage_ms else ""
    return (
        f"frame {result.frame_index:>5}  {result.captured_at_s:8.2f} s  {count}{': ' + faces if faces else ''}{total}"
    )


def _said(result: FrameResult) -> list[str]:
    """Describe each face, such as "happy 93%"."""
    strength = TASKS[result.task].strength
    return [f"{face.expression} {strength(face.confidence, face.probabilities)}" for face in result.faces]


def _painted(text: str, face: Face) -> str:
    colour = terminal_colour(face.names[0], TASKS[face.task].names(face.labels))
    return f"\x1b[{colour}m{_BOLD}{text}{_PLAIN}"


def _unpainted(text: str, face: Face) -> str:
    return text


class _Summary:
    """Totals for the closing lines; their size does not grow with the length of the run."""

    def __init__(self) -> None:
        self.frames = 0
        self._frames_with_face = self._faces = 0
        self._first_s = self._last_s = 0.0
        self._started_at_s = self._ended_at_s = 0.0
        self._labels: tuple[str, ...] = ()

    def add(self, result: FrameResult, now_s: float) -> None:
        if self.frames == 0:
            self._first_s, self._started_at_s = result.captured_at_s, now_s
        self.frames += 1
        self._frames_with_face += bool(result.faces)
        self._faces += len(result.faces)
        self._last_s, self._ended_at_s = result.captured_at_s, now_s
        self._labels = TASKS[result.task].names(result.labels)

    def lines(self) -> list[str]:
        raise NotImplementedError

    def rate_fps(self) -> float:
        """Frames a second so far."""
        elapsed_s = self._ended_at_s - self._started_at_s
        return (self.frames - 1) / elapsed_s if self.frames > 1 and elapsed_s > 0 else 0.0

    def progress(self, count: int) -> str:
        """A bar, the share that is done, and the time left at this rate."""
        share = min(self.frames / count, 1.0)
        full = round(share * _BAR_CHARS)
        rate_fps = self.rate_fps()
        left = f"{max(count - self.frames, 0) / rate_fps:4.0f} s left" if rate_fps else " " * 11
        return f"[{'#' * full}{' ' * (_BAR_CHARS - full)}] {share:4.0%}  {left}"


class _TimedSummary(_Summary):
    """Of a video or camera: expressions second by second."""

    def __init__(self) -> None:
        super().__init__()
        self._timeline = Timeline()

    def add(self, result: FrameResult, now_s: float) -> None:
        super().add(result, now_s)
        self._timeline.add(result.captured_at_s, [face.names for face in result.faces])

    def lines(self) -> list[str]:
        if self.frames == 0:
            return ["no frames"]
        faces = f"faces found: {self._faces} in {_counted(self._frames_with_face, 'frame')}"
        head = f"{self._length_s():.1f} s, {_counted(self.frames, 'frame')}, {faces}"
        if self.rate_fps():
            head += f", {self.rate_fps():.1f} frames/s processed"
        if self._faces == 0:
            return [head]
        return [head, "expressions, counted once a frame and face:", *self._timeline.table(self._labels)]

    def _length_s(self) -> float:
        """From the first frame to the end of the last, which lasts as long as the others do on average."""
        between_s = self._last_s - self._first_s
        return between_s + (between_s / (self.frames - 1) if self.frames > 1 else 0.0)


class _PictureSummary(_Summary):
    """Of photographs: faces by expression, and the pictures without one."""

    def __init__(self) -> None:
        super().__init__()
        self._expressions: Counter[str] = Counter()
        self._without_face: list[str] = []

    def add(self, result: FrameResult, now_s: float) -> None:
        super().add(result, now_s)
        self._expressions.update(name for face in result.faces for name in face.names)
        if not result.faces and len(self._without_face) < _NAMED_WITHOUT_FACE:
            self._without_face.append(printable(Path(result.source).name))

    def lines(self) -> list[str]:
        if self.frames == 0:
            return ["no pictures"]
        counts = [f"{label} {self._expressions[label]}" for label in self._labels if self._expressions[label]]
        head = f"{_counted(self.frames, 'picture')}, {_counted(self._faces, 'face')}"
        lines = [f"{head}: {', '.join(counts)}" if counts else head]
        missing = self.frames - self._frames_with_face
        if missing:
            lines.append(f"no face in {_counted(missing, 'picture')}: {_listed(self._without_face, missing)}")
        return lines


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else f"{name[: _NAME_CHARS - 3]}..."


@dataclass
class _Span:
    faces: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, faces: int, counts: Counter[str]) -> None:
        self.faces += faces
        self.counts.update(counts)


class Timeline:
    """Counts of expressions in equal spans of time: one second each, and twice as long whenever they get too many."""

    def __init__(self, max_spans: int = 120) -> None:
        self.span_s = 1
        self._max_spans = max_spans
        self._spans: dict[int, _Span] = {}

    def add(self, time_s: float, faces: Collection[Collection[str]]) -> None:
        """Count the faces seen at `time_s`, seconds from the start, by the names of each."""
        span = self._spans.setdefault(int(time_s // self.span_s), _Span())
        span.add(len(faces), Counter(name for names in faces for name in names))
        while len(self._spans) > self._max_spans:
            self._widen()

    def table(self, labels: tuple[str, ...]) -> list[str]:
        """Lines of text: a heading, then a line a span, then the sum; a label never seen has no column."""
        total = _Span()
        for span in self._spans.values():
            total.add(span.faces, span.counts)
        columns = _columns(total.counts, labels)
        widths = [len("faces"), *(max(width_of(name), 4) for name in columns)]
        rows = [("second" if self.span_s == 1 else "seconds", ["faces", *columns])]
        rows += [(self._when(number), _row(span, columns, ".")) for number, span in sorted(self._spans.items())]
        rows.append(("all", _row(total, columns, "0")))
        return [f"{when:>11}" + _cells(cells, widths) for when, cells in rows]

    def _when(self, number: int) -> str:
        first_s = number * self.span_s
        return str(first_s) if self.span_s == 1 else f"{first_s}-{first_s + self.span_s - 1}"

    def _widen(self) -> None:
        wider: dict[int, _Span] = {}
        for number, span in self._spans.items():
            wider.setdefault(number // 2, _Span()).add(span.faces, span.counts)
        self._spans = wider
        self.span_s *= 2


def _columns(counts: Counter[str], labels: tuple[str, ...]) -> list[str]:
    """The labels seen, in their order; where they are too many the commonest, and one column for all others."""
    seen = [label for label in labels if counts[label]]
    if len(seen) <= _MOST_COLUMNS:
        return seen
    common = {name for name, _ in counts.most_common(_MOST_COLUMNS - 1)}
    return [*(label for label in seen if label in common), _OTHERS]


def _row(span: _Span, columns: list[str], nothing: str) -> list[str]:
    """The cells of one span: faces, and how often each of the columns was seen."""
    others = span.counts.total() - sum(span.counts[name] for name in columns)
    counts = [others if name == _OTHERS else span.counts[name] for name in columns]
    return [str(span.faces), *(str(count or nothing) for count in counts)]


def _cells(cells: list[str], widths: list[int]) -> str:
    return "".join(f"  {right_aligned(cell, width)}" for cell, width in zip(cells, widths, strict=True))
