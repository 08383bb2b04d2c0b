"""Bringing the parts together, and exchanging them when the configuration is read again."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import TracebackType

from fer_edge.errors import FerEdgeError, SourceError, UsageError
from fer_edge.frames import Frame
from fer_edge.pictures import Pictures
from fer_edge.pipeline import Pipeline
from fer_edge.program.governor import RateGovernor
from fer_edge.program.loop import BoardMonitor, Loop, ReloadRequested, Signals
from fer_edge.program.parts import (
    MakeSink,
    SinkContext,
    listening_makers,
    make_pipeline,
    make_source,
    refuse_overwriting,
    sink_makers,
)
from fer_edge.program.service import Supervisor
from fer_edge.program.vitals import Vitals
from fer_edge.settings import Settings
from fer_edge.sinks.group import SinkSet
from fer_edge.sinks.run_folder import RunFolder, new_run
from fer_edge.sources import Source

logger = logging.getLogger("fer_edge")


def run_program(settings: Settings, read_again: Callable[[], Settings] | None = None) -> None:
    """Run until the source ends, SIGTERM or SIGINT. SIGHUP reads the settings again, where `read_again` can.

    Raises a FerEdgeError where it cannot start, where the source is lost for good, and at the end where a sink lost
    results.
    """
    supervisor = Supervisor()
    with Signals(reloads=read_again is not None) as signals, contextlib.suppress(KeyboardInterrupt):
        program = Program(settings, supervisor, signals)
        with contextlib.suppress(KeyboardInterrupt), program:
            program.run(read_again)
        program.write_timeline()
        program.report()


def _reason(error: BaseException) -> str:
    """An error as part of one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Program:
    """All parts of one run. Enter it to open source and sinks."""

    def __init__(self, settings: Settings, supervisor: Supervisor, signals: Signals) -> None:
        refuse_overwriting(settings)
        self._settings, self._supervisor, self._signals = settings, supervisor, signals
        self._pipeline: Pipeline = make_pipeline(settings)
        self._source: Source = make_source(settings, supervisor)
        self._openings = 0
        # What is added to the times and numbers of the source's frames, and what the next frame's would be.
        self._begin_s, self._begin_index = 0.0, 0
        self._next_s, self._next_index, self._last_at_s = 0.0, 0, time.monotonic()
        self._monitor = BoardMonitor()
        self._pictures = Pictures(settings.output.privacy)
        self._runs: dict[Path, RunFolder] = {}
        self._governor = self._make_governor()
        self._sinks = SinkSet()
        self._stack = contextlib.ExitStack()
        self._started = False
        self.failed: tuple[str, ...] = ()

    def __enter__(self) -> Program:
        """Open the source and the sinks. Raises SourceError, UsageError.

        What listens comes first: the source may be waited for, and nobody should learn only then that a port is taken.
        """
        with contextlib.ExitStack() as opened:
            opened.enter_context(self._monitor)
            opened.push(self._sinks.__exit__)
            self._sinks.check(self._makers())
            context = self._context(self._settings, self._source, self._pipeline, self._pictures)
            self._sinks.exchange(listening_makers(self._settings, context))
            self._source.__enter__()
            opened.push(self._leave_source)
            self._sinks.exchange(self._makers())
            self._started = True
            opened.pop_all()
        # In another order than they were opened: the sinks are closed first.
        for leave in (self._monitor.__exit__, self._leave_source, self._sinks.__exit__):
            self._stack.push(leave)
        return self

    def _leave_source(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source there is by then."""
        self._source.__exit__(kind, error, trace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all, the sinks first."""
        self._signals.finish()
        self._supervisor.stopping()
        self._stack.__exit__(kind, error, trace)
        self.failed = self._sinks.failed

    def write_timeline(self) -> None:
        """The page of --save, made of the results once they are complete. What keeps it away is only warned about."""
        run = self._run_folder(self._settings)
        if run is None or not run.jsonl.exists() or not run.jsonl.stat().st_size:
            return
        from fer_edge.sinks.timeline_page import write_page

        media = next((path.name for path in (run.video, run.pictures) if path.exists()), "")
        try:
            write_page(run.jsonl, run.timeline, media)
        except (OSError, FerEdgeError) as error:
            logger.warning("%s was not made: %s", run.timeline, _reason(error))

    def report(self) -> None:
        """Raise UsageError where results are incomplete."""
        if self.failed:
            raise UsageError(f"results are incomplete: {', '.join(self.failed)} failed on the way.")
        if self._source.left_out:
            raise UsageError(
                f"results are incomplete: pictures that could not be read: {self._source.left_out}; see above."
            )

    def vitals(self) -> Vitals:
        """How it fares, for the sinks that show it."""
        governor = self._governor
        return Vitals(
            0.0 if self._supervisor.waits else governor.fps,
            governor.rate_fps,
            governor.level,
            self._monitor.state,
            self._pipeline.detector_failures,
            self._sinks.lost,
            self._pipeline.classifier.unusable_outputs,
        )

    def run(self, read_again: Callable[[], Settings] | None) -> None:
        """Until the source ends."""
        loop = self._make_loop()
        frames = self._frames()
        while True:
            self._signals.reload_at_once = self._source.live
            with contextlib.suppress(ReloadRequested):
                loop.run(frames, self._settings.source.max_frames, continuous=self._source.continuous)
                return
            self._signals.reload_at_once = False
            assert read_again is not None
            openings = self._openings
            # Sinks may be closed here, which is not to be broken off; another SIGHUP waits for the next frame.
            with self._signals.shielded(reload=False):
                self._reload(read_again)
                loop = self._make_loop(loop.frames)
            # A file is read on; a live source may have been broken off while it waited, and can be iterated again.
            if self._source.live or self._openings > openings:
                frames = self._frames()

    def _frames(self) -> Iterator[Frame]:
        """The source's frames; times and numbers go on from those of the source before, for the sinks that stay."""
        for frame in self._source:
            if self._begin_index:
                index, captured_at_s = frame.index + self._begin_index, frame.captured_at_s + self._begin_s
                frame = dataclasses.replace(frame, index=index, captured_at_s=captured_at_s)
            self._next_s, self._next_index, self._last_at_s = frame.captured_at_s, frame.index + 1, time.monotonic()
            yield frame
            del frame

    def _reload(self, read_again: Callable[[], Settings]) -> None:
        """Take new settings over, or keep the old ones and say why: nothing that is wrong in a file ends a service."""
        try:
            new = read_again()
            refuse_overwriting(new)
            old = self._settings
            models_changed = (new.model, new.detection) != (old.model, old.detection)
            pipeline = make_pipeline(new) if models_changed else self._pipeline
            privacy_changed = new.output.privacy != old.output.privacy
            pictures = Pictures(new.output.privacy) if privacy_changed else self._pictures
            source = self._another_source(new)
            # Before anything is changed: an output that is refused must not leave pictures to sinks of another privacy.
            self._sinks.check(self._makers_of(new, source or self._source, pipeline, pictures))
        except (Exception, SystemExit) as error:
            logger.warning("configuration not applied: %s", _reason(error))
            return
        self._pipeline, self._pictures = pipeline, pictures
        self._pipeline.watch_edges = new.output.privacy == "blur"
        if source is None or not self._exchange_source(source):
            new = dataclasses.replace(new, source=old.source, camera=old.camera)
        self._settings = new
        self._governor = self._make_governor()
        try:
            self._sinks.exchange(self._makers())
        except Exception as error:
            logger.warning("configuration applied, except an output: %s", _reason(error))
        logger.warning("configuration read again.")

    def _another_source(self, new: Settings) -> Source | None:
        """The source the new settings ask for; None where it is the one there is, or where there is none such.

        One that works is not given up for one that is away; of two that are away the new one is waited for.
        """
        if (new.source, new.camera) == (self._settings.source, self._settings.camera):
            return None
        try:
            return make_source(new, self._supervisor, patient=self._supervisor.waits)
        except SourceError as error:
            logger.warning("the new source is not used: %s", _reason(error))
            return None

    def _exchange_source(self, source: Source) -> bool:
        """Close the source before the next is opened: it may be the same camera in another size.

        False where the new one cannot be opened and the old one is back. Raises SourceError where neither can.
        """
        self._source.__exit__(None, None, None)
        self._openings += 1
        self._pipeline.forget()
        self._pictures.forget()
        self._begin_s = self._next_s + time.monotonic() - self._last_at_s
        self._begin_index = self._next_index
        try:
            source.__enter__()
        except Exception as error:
            logger.warning("the new source is not used: %s", _reason(error))
            self._source.__enter__()
            return False
        self._source = source
        return True

    def _makers(self) -> dict[Hashable, MakeSink]:
        return self._makers_of(self._settings, self._source, self._pipeline, self._pictures)

    def _makers_of(
        self, settings: Settings, source: Source, pipeline: Pipeline, pictures: Pictures
    ) -> dict[Hashable, MakeSink]:
        return sink_makers(settings, self._context(settings, source, pipeline, pictures))

    def _context(self, settings: Settings, source: Source, pipeline: Pipeline, pictures: Pictures) -> SinkContext:
        contract = pipeline.classifier.contract
        said = contract.task_spec.said(contract.labels)
        run = self._run_folder(settings)
        return SinkContext(source, contract.labels, self.vitals, pictures, self._started, run, said)

    def _run_folder(self, settings: Settings) -> RunFolder | None:
        """The names of this run in the folder of --save; a reload goes on with them."""
        folder = settings.output.save
        if folder is None:
            return None
        if folder not in self._runs:
            self._runs[folder] = new_run(folder)
        return self._runs[folder]

    def _make_governor(self) -> RateGovernor:
        return RateGovernor(self._pipeline, self._settings.rate.target_fps, paced=self._source.live)

    def _make_loop(self, frames: int = 0) -> Loop:
        return Loop(
            self._pipeline,
            self._sinks,
            self._governor,
            frames=frames,
            supervisor=self._supervisor,
            board=lambda: self._monitor.state,
            shield=self._signals.shielded,
        )
