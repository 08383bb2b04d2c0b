"""The terminal: what is seen now, and a summary at the end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from fer_edge.frames import Frame, FrameResult
from fer_edge.sinks.timeline import Timeline
from fer_edge.streams import drop_stdout
from fer_edge.tasks import TASKS

# Faster than this nobody can read, and a slow serial console would hold up the loop.
_LINES_PER_S = 10


class TerminalSink:
    """Prints a line a frame; on a terminal it is one line that refreshes itself. Ends with counts by second.

    `live` holds printed lines to ten a second, as the refreshing line always is; the summary counts every frame.
    `stream` is standard output unless given; `clock_s` is a monotonic clock in seconds.
    """

    name = "terminal"

    def __init__(
        self, stream: TextIO | None = None, *, live: bool = False, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stdout
        self._refreshing = self._stream.isatty()
        self._limited = live or self._refreshing
        self._clock_s = clock_s
        self._shown_at_s = float("-inf")
        self._summary = _Summary()

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
        if self._refreshing:
            # A line that wraps could not be taken back.
            room = shutil.get_terminal_size().columns - 1
            self._say(f"\r{one_line(result)[:room]}\x1b[K")
        else:
            self._say(one_line(result) + "\n")

    def _say(self, text: str) -> None:
        """Print, unless whoever read has gone: the other sinks still have work to do."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            drop_stdout()


def one_line(result: FrameResult) -> str:
    """A frame in one line: index, time, faces with expression and confidence or values, milliseconds."""
    said = TASKS[result.task].strength
    faces = ", ".join(f"{face.expression} {said(face.confidence, face.probabilities)}" for face in result.faces)
    count = f"{len(result.faces)} face{'s' if len(result.faces) != 1 else ''}"
    total = f"  {result.stage_ms['total']:.1f} ms" if "total" in result.stage_ms else ""
    return (
        f"frame {result.frame_index:>5}  {result.captured_at_s:8.2f} s  {count}{': ' + faces if faces else ''}{total}"
    )


class _Summary:
    """What the closing lines are made of; its size does not grow with the length of the run."""

    def __init__(self) -> None:
        self.frames = 0
        self._frames_with_face = self._faces = 0
        self._first_s = self._last_s = 0.0
        self._started_at_s = self._ended_at_s = 0.0
        self._labels: tuple[str, ...] = ()
        self._timeline = Timeline()

    def add(self, result: FrameResult, now_s: float) -> None:
        if self.frames == 0:
            self._first_s, self._started_at_s = result.captured_at_s, now_s
        self.frames += 1
        self._frames_with_face += bool(result.faces)
        self._faces += len(result.faces)
        self._last_s, self._ended_at_s = result.captured_at_s, now_s
        self._labels = result.labels
        self._timeline.add(result.captured_at_s, (face.expression for face in result.faces))

    def lines(self) -> list[str]:
        if self.frames == 0:
            return ["no frames"]
        faces = f"faces found: {self._faces} in {_frames(self._frames_with_face)}"
        head = f"{self._length_s():.1f} s, {_frames(self.frames)}, {faces}"
        elapsed_s = self._ended_at_s - self._started_at_s
        if self.frames > 1 and elapsed_s > 0:
            head += f", {(self.frames - 1) / elapsed_s:.1f} frames/s processed"
        if self._faces == 0:
            return [head]
        return [head, "expressions, counted once a frame and face:", *self._timeline.table(self._labels)]

    def _length_s(self) -> float:
        """From the first frame to the end of the last, which lasts as long as the others do on average."""
        between_s = self._last_s - self._first_s
        return between_s + (between_s / (self.frames - 1) if self.frames > 1 else 0.0)


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
