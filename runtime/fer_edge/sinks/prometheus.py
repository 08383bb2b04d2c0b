"""Prometheus: counters, gauges and latencies at /metrics. Needs the extra `metrics` (prometheus-client, microdot).

Names follow https://prometheus.io/docs/practices/naming/: base units, `_seconds`, `_total`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge import __version__
from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.program.vitals import Vitals
from fer_edge.serving.access import access_for
from fer_edge.serving.listening import listen_address
from fer_edge.serving.server import Server

if TYPE_CHECKING:
    from microdot import Request
    from prometheus_client.core import Metric

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsSink:
    """Serves /metrics at `address` (`[HOST:]PORT`); away from loopback it wants the token, as a bearer."""

    def __init__(self, address: str, token: str | None, vitals: Callable[[], Vitals]) -> None:
        where = listen_address(address, "--metrics")
        self.server = Server(where, access_for(where, token), {"/metrics": self._serve})
        self.name = f"metrics {address}"
        self._vitals = vitals
        self._newest_at_s: float | None = None
        self._make()

    def _make(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise UsageError('--metrics needs prometheus-client. Install it: pip install "fer-edge[metrics]"') from None
        self._registry = registry = CollectorRegistry()
        self._frames = Counter("fer_edge_frames", "Frames processed.", registry=registry)
        self._detections = Counter("fer_edge_detections", "Frames the detector looked at.", registry=registry)
        self._expressions = Counter(
            "fer_edge_expressions",
            "Faces by expression, counted once a frame; where several may hold, by each that does.",
            ["expression"],
            registry=registry,
        )
        self._faces = Gauge("fer_edge_faces", "Faces in the newest frame.", registry=registry)
        self._stage = Histogram(
            "fer_edge_stage_seconds",
            "Time a stage takes for a frame.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._age = Histogram(
            "fer_edge_frame_age_seconds",
            "From reading a frame to its result.",
            buckets=_BUCKETS_S,
            registry=registry,
        )
        Gauge("fer_edge_info", "The version.", ["version"], registry=registry).labels(__version__).set(1)
        registry.register(_VitalsCollector(self._vitals, lambda: self._newest_at_s))

    def __enter__(self) -> MetricsSink:
        """Listen, and print the token where one was made here. Raises UsageError."""
        self.server.__enter__()
        if self.server.access.made:
            print(f"fer-edge: /metrics wants the bearer token {self.server.access.token}", file=sys.stderr, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.server.__exit__(kind, error, trace)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def try_port(self) -> None:
        """Raise UsageError where it could not listen now."""
        self.server.try_port()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Count the frame."""
        self._newest_at_s = result.read_at_s
        self._frames.inc()
        self._detections.inc(result.detected)
        self._faces.set(len(result.faces))
        self._age.observe(max(0.0, time.monotonic() - result.read_at_s))
        for stage, value_ms in result.stage_ms.items():
            self._stage.labels(stage).observe(value_ms / 1e3)
        for face in result.faces:
            for name in face.names:
                self._expressions.labels(name).inc()

    async def _serve(self, request: Request) -> Any:
        from prometheus_client import generate_latest

        return generate_latest(self._registry), 200, {"Content-Type": _CONTENT_TYPE}


class _VitalsCollector:
    """Asks for the vitals when Prometheus does, not at every frame."""

    def __init__(self, vitals: Callable[[], Vitals], newest_at_s: Callable[[], float | None]) -> None:
        self._vitals, self._newest_at_s = vitals, newest_at_s

    def collect(self) -> list[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        vitals, newest_at_s = self._vitals(), self._newest_at_s()
        age_s = None if newest_at_s is None else max(0.0, time.monotonic() - newest_at_s)
        gauges = {
            "fer_edge_picture_age_seconds": ("Since the newest frame was read; absent before the first.", age_s),
            "fer_edge_fps": ("Frames processed a second.", vitals.fps),
            "fer_edge_effort_level": ("0 is full effort; each step detects less.", float(vitals.effort_level)),
            "fer_edge_board_temperature_celsius": ("The hottest probe.", vitals.board.temp_c),
            "fer_edge_board_throttled": ("1 while the board throttles.", vitals.board.throttled),
            "fer_edge_resident_memory_bytes": ("Resident memory.", _bytes(vitals.board.rss_mb)),
        }
        found: list[Metric] = [
            GaugeMetricFamily(name, text, value=float(value))
            for name, (text, value) in gauges.items()
            if value is not None
        ]
        lost = CounterMetricFamily("fer_edge_lost_results", "Results a sink failed to take.", labels=["sink"])
        for sink, count in vitals.lost.items():
            lost.add_metric([sink.split()[0]], count)
        failures = CounterMetricFamily(
            "fer_edge_detector_failures", "Frames the detector failed on.", value=vitals.detector_failures
        )
        unusable = CounterMetricFamily(
            "fer_edge_unusable_outputs", "Faces the model gave no usable output for.", value=vitals.unusable_outputs
        )
        return [*found, lost, failures, unusable]


def _bytes(megabytes: float | None) -> float | None:
    return None if megabytes is None else megabytes * 1024 * 1024
