"""MQTT: events, state and statistics to a broker, with a last will. Needs the extra `mqtt` (paho-mqtt).

Topics below the prefix: `available` (online or offline; retained), `events` (a face appeared, changed, left), `state`
(faces and the largest one's expression; retained) and `stats` (how the program fares). No picture is ever sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.program.vitals import Vitals
from fer_edge.sinks.home_assistant import discovery
from fer_edge.sinks.track_events import TrackEvents
from fer_edge.sources.address import masked

if TYPE_CHECKING:
    from paho.mqtt.client import Client

logger = logging.getLogger("fer_edge")

_PORTS = {"mqtt": 1883, "mqtts": 8883}
# Events kept while the broker is away; what comes after is counted and lost.
MAX_WAITING = 1000
_STATS_PERIOD_S = 10.0
_STATE_PERIOD_S = 1.0
_KEEPALIVE_S = 30
_CONNECT_S = 3.0
_FAREWELL_S = 0.5
_JOIN_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


@dataclasses.dataclass(frozen=True)
class Broker:
    """Where the broker is. `shown` is the address without its password."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    shown: str


def broker_at(address: str) -> Broker:
    """Parse `mqtt://[USER:PASSWORD@]HOST[:PORT]` or `mqtts://...`. Raises UsageError, without the password."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UsageError(
            f"--mqtt {masked(address)!r}: expected mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS."
        )
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return Broker(
        parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "mqtts", user, password, masked(address)
    )


class MqttSink:
    """Sends what happens to a broker, which may come and go: a thread connects again, ever less often.

    `topic` begins every topic. Events wait in a bounded queue while the broker is away; those beyond it are counted as
    lost, in `lost` and in the statistics.
    """

    def __init__(self, address: str, topic: str, vitals: Callable[[], Vitals], *, announce: bool = True) -> None:
        if not topic or set(topic) & set("+#\0") or topic.startswith(("/", "$")) or topic.endswith("/"):
            raise UsageError(f"--mqtt-topic {topic!r}: expected a prefix such as fer-edge or home/door.")
        self._broker = broker_at(address)
        self.name = f"mqtt {self._broker.shown}"
        self._topic, self._vitals, self._announce = topic, vitals, announce
        self._events = TrackEvents()
        self._client: Client | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._wait_s = _FIRST_WAIT_S
        self.sent = self.lost = 0
        self._lost_told = 0
        self._state: tuple[int, str | None] | None = None
        self._state_at_s = self._stats_at_s = float("-inf")

    def __enter__(self) -> MqttSink:
        """Begin to connect; a broker that is away is no error. Raises UsageError without paho-mqtt."""
        try:
            from paho.mqtt.client import Client, MQTTv311
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise UsageError('--mqtt needs paho-mqtt. Install it: pip install "fer-edge[mqtt]"') from None
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311, reconnect_on_failure=False)
        if self._broker.user is not None:
            client.username_pw_set(self._broker.user, self._broker.password)
        if self._broker.tls:
            client.tls_set()
        client.will_set(f"{self._topic}/available", "offline", qos=1, retain=True)
        client.max_queued_messages_set(MAX_WAITING)
        client.connect_timeout = _CONNECT_S
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        self._client = client
        self._stop.clear()
        # A thread of our own instead of paho's, because that one sleeps through a request to stop.
        self._thread = threading.Thread(target=self._run, args=(client,), name="mqtt", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye if the broker listens, and join the thread."""
        if self._client is None or self._thread is None:
            return
        self._stop.set()
        if self._client.is_connected():
            said = self._client.publish(f"{self._topic}/available", "offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):  # it went away at this very moment
                said.wait_for_publish(_FAREWELL_S)
        self._client.disconnect()
        self._thread.join(_JOIN_S)

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Publish what changed. Never waits for the broker."""
        now_s = time.monotonic()
        for event in self._events.of(result):
            self._send_event({**dataclasses.asdict(event), "source": result.source, "unix_time_s": time.time()})
        self._send_state(result, now_s)
        if now_s - self._stats_at_s >= _STATS_PERIOD_S:
            self._stats_at_s = now_s
            self._send("stats", self._stats(result))

    def _send_event(self, event: dict[str, Any]) -> None:
        assert self._client is not None, "enter the sink before writing"
        info = self._client.publish(f"{self._topic}/events", json.dumps(event), qos=1)
        if info.rc == _queue_full():
            self.lost += 1
        else:
            self.sent += 1

    def _send_state(self, result: FrameResult, now_s: float) -> None:
        """Faces and the largest one's expression, when they change, once a second at most."""
        largest = max(result.faces, key=lambda face: face.box.width_px * face.box.height_px, default=None)
        state = (len(result.faces), None if largest is None else largest.expression)
        if state == self._state or now_s - self._state_at_s < _STATE_PERIOD_S:
            return
        confidence = None if largest is None else round(largest.confidence, 3)
        if self._send("state", {"faces": state[0], "expression": state[1], "confidence": confidence}, retain=True):
            self._state, self._state_at_s = state, now_s

    def _stats(self, result: FrameResult) -> dict[str, Any]:
        vitals = self._vitals()
        return {
            "fps": round(vitals.fps, 1),
            "frame_index": result.frame_index,
            "total_ms": round(result.stage_ms.get("total", 0.0), 2),
            "temp_c": vitals.board.temp_c,
            "throttled": vitals.board.throttled,
            "rss_mb": vitals.board.rss_mb,
            "effort_level": vitals.effort_level,
            "detector_failures": vitals.detector_failures,
            "events_sent": self.sent,
            "events_lost": self.lost,
        }

    def _send(self, name: str, value: dict[str, Any], *, retain: bool = False) -> bool:
        """Publish what only counts now, so without a queue; false while the broker is away."""
        assert self._client is not None, "enter the sink before writing"
        return self._client.publish(f"{self._topic}/{name}", json.dumps(value), qos=0, retain=retain).rc == 0

    def _run(self, client: Client) -> None:
        """Stay connected; after each loss wait, ever longer, and connect again."""
        while not self._stop.is_set():
            try:
                client.connect(self._broker.host, self._broker.port, _KEEPALIVE_S)
                client.loop_forever()
            except Exception as error:  # whatever a network library raises, it is tried again
                if self._wait_s == _FIRST_WAIT_S:
                    reason = " ".join(str(error).split()) or type(error).__name__
                    logger.warning("%s: no broker answers (%s); trying again.", self.name, reason)
            self._stop.wait(self._wait_s)
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            logger.warning("%s: the broker refuses: %s. Check user and password.", self.name, reason)
            return
        self._wait_s = _FIRST_WAIT_S
        if self.lost > self._lost_told:
            logger.warning("%s: connected; %d events were lost meanwhile.", self.name, self.lost - self._lost_told)
            self._lost_told = self.lost
        client.publish(f"{self._topic}/available", "online", qos=1, retain=True)
        if self._announce:
            for topic, payload in discovery(self._topic).items():
                client.publish(topic, json.dumps(payload), qos=1, retain=True)
        self._state = None

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            logger.warning("%s: connection lost (%s); trying again.", self.name, reason)


def _queue_full() -> Any:
    from paho.mqtt.enums import MQTTErrorCode

    return MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
