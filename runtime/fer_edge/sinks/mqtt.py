"""MQTT: events, state and statistics to a broker, with a last will. Needs the extra `mqtt` (paho-mqtt).

The topics are those of `fer_edge.sinks.mqtt_topics`, delivered by `fer_edge.sinks.outbox`. Home Assistant is told of
them where it listens. No picture is ever sent.

The prefix is this board's own unless another is set: two boards below one prefix would overwrite each other's state,
and the last will of one would call the other offline. Where it happens all the same, each says so.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge import __version__
from fer_edge.broker import Session, TlsFiles, broker_at, tls_files, topic_of
from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.identity import board_id, distinct_slug
from fer_edge.program.vitals import Vitals
from fer_edge.settings import MqttSettings
from fer_edge.sinks.mqtt_topics import Topics, topics_below
from fer_edge.sinks.outbox import Outbox, Sender
from fer_edge.sinks.track_events import TrackEvents
from fer_edge.tasks import NOTHING

MODEL = "fer-edge"
# More are too long a list for anybody to choose from, and a large message.
_MOST_OPTIONS = 250

_SENSORS: dict[str, dict[str, Any]] = {
    "expression": {
        "name": "Expression",
        "from": lambda topics: topics.state,
        # Home Assistant takes no state of more than 255 characters.
        "value_template": "{{ (value_json.expression or 'none')[:255] }}",
        "icon": "mdi:emoticon-outline",
    },
    "faces": {
        "name": "Faces",
        "from": lambda topics: topics.state,
        "value_template": "{{ value_json.faces }}",
        "state_class": "measurement",
        "icon": "mdi:account-multiple-outline",
    },
    "fps": {
        "name": "Frame rate",
        "from": lambda topics: topics.stats,
        "value_template": "{{ value_json.fps }}",
        "unit_of_measurement": "FPS",
        "state_class": "measurement",
        "entity_category": "diagnostic",
    },
    "temperature": {
        "name": "Board temperature",
        "from": lambda topics: topics.stats,
        "value_template": "{{ value_json.temp_c }}",
        "unit_of_measurement": "°C",
        "device_class": "temperature",
        "state_class": "measurement",
        "entity_category": "diagnostic",
    },
}
if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_ANNOUNCEMENTS = "homeassistant/+/+/+/config"
# A broker sends what it retains right after the subscription; when it was silent for so long, that was all.
_SILENCE_S = 1.0
_STATS_PERIOD_S = 10.0
_STATE_PERIOD_S = 1.0


class MqttSink:
    """Sends what happens to a broker, which may come and go: a thread connects again, ever less often.

    `topic` begins every topic; None takes one that no other board has. `expressions` are all that the model may say,
    for Home Assistant to offer. Without `announce` it is told to forget what was announced below this prefix before.
    """

    def __init__(
        self,
        address: str,
        topic: str | None,
        vitals: Callable[[], Vitals],
        *,
        announce: bool = True,
        expressions: tuple[str, ...] = (),
        files: TlsFiles = TlsFiles(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._topics = topics_below(topic)
        broker = broker_at(address, files)
        self.name = f"mqtt {broker.shown}"
        self._vitals = vitals
        self._sender = Sender(board_id()[:12], secrets.token_hex(4))
        # An empty payload has the broker keep nothing, and Home Assistant forget the sensor.
        announced = discovery(self._topics, expressions).items()
        announcements = {where: json.dumps(payload) if announce else "" for where, payload in announced}
        self._outbox = Outbox(self.name, broker, self._topics, self._sender, announcements)
        self._events = TrackEvents()
        self._state: tuple[int, str | None] | None = None
        self._state_at_s = self._stats_at_s = float("-inf")

    @property
    def sent(self) -> int:
        """Events that the broker acknowledged."""
        return self._outbox.sent

    @property
    def lost(self) -> int:
        """Events that found the queue full, or that nobody acknowledged before the end."""
        return self._outbox.lost

    def __enter__(self) -> MqttSink:
        """Begin to connect; a broker that is away is no error. Raises UsageError without paho-mqtt."""
        self._outbox.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give what waits a moment to leave, and say goodbye if the broker listens."""
        self._outbox.close()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Have what changed published. Never waits for the broker."""
        now_s = time.monotonic()
        for event in self._events.of(result):
            said = {**dataclasses.asdict(event), "source": result.source, "unix_time_s": time.time()}
            self._outbox.add(json.dumps(said))
        self._note_state(result, now_s)
        if now_s - self._stats_at_s >= _STATS_PERIOD_S:
            self._stats_at_s = now_s
            self._outbox.put(self._topics.stats, json.dumps(self._stats(result)))

    def _note_state(self, result: FrameResult, now_s: float) -> None:
        """Faces and the largest one's expression, when they change, once a second at most."""
        largest = max(result.faces, key=lambda face: face.box_px.width_px * face.box_px.height_px, default=None)
        state = (len(result.faces), None if largest is None else largest.expression)
        if state == self._state or now_s - self._state_at_s < _STATE_PERIOD_S:
            return
        self._state, self._state_at_s = state, now_s
        confidence = None if largest is None else round(largest.confidence, 3)
        said = {"faces": state[0], "expression": state[1], "confidence": confidence}
        self._outbox.put(self._topics.state, json.dumps(said))

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
            "unusable_outputs": vitals.unusable_outputs,
            "events_sent": self.sent,
            "events_lost": self.lost,
            **self._sender._asdict(),
        }


def clear_broker(settings: MqttSettings) -> list[str]:
    """Take back every retained message of the topic prefix; return their topics, sorted.

    Raises UsageError where the broker cannot be reached or refuses.
    """
    if settings.address is None:
        raise UsageError("--mqtt is needed: the broker to clear, such as mqtt://broker.local.")
    broker = broker_at(settings.address, tls_files(settings))
    own = topics_below(settings.topic)
    with Session(broker) as session:
        kept = _retained(session, [*own.retained, _ANNOUNCEMENTS])
        found = sorted(topic for topic, payload in kept.items() if _is_of(own, topic, payload))
        # Also what this client may not read, but may write.
        topics = {*found, *own.retained, *discovery(own)}
        sent = [session.client.publish(topic, b"", qos=1, retain=True) for topic in sorted(topics)]
        session.wait_until(lambda: all(one.is_published() for one in sent), "the broker does not acknowledge")
    return found


def _is_of(own: Topics, topic: str, payload: bytes) -> bool:
    """Is this message on one of these topics, or announces it? That one names its topics, whatever its own name is."""
    if topic in own.retained:
        return True
    try:
        found: Any = json.loads(payload)
        return (found["device"]["model"], found["availability_topic"]) == (MODEL, own.available)
    except (ValueError, RecursionError, LookupError, TypeError):
        return False


def _retained(session: Session, topics: list[str]) -> dict[str, bytes]:
    """Messages that the broker retains under these topics, by topic."""
    found: dict[str, bytes] = {}
    heard_at_s = time.monotonic()

    def note(client: Any, data: Any, message: MQTTMessage) -> None:
        nonlocal heard_at_s
        if message.retain:  # what others say meanwhile does not count
            heard_at_s = time.monotonic()
            found[topic_of(message)] = bytes(message.payload)

    session.client.on_message = note
    session.client.subscribe([(topic, 0) for topic in topics])
    session.wait_until(lambda: time.monotonic() - heard_at_s >= _SILENCE_S, "the broker never falls silent")
    return found


def discovery(topics: Topics, expressions: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Configuration payloads by topic for the sensors of `topics`; distinct for distinct prefixes.

    `expressions` are all that the model may say; then automations offer them to choose from.
    """
    node = distinct_slug(topics.prefix)
    device = {"identifiers": [node], "name": topics.prefix, "model": MODEL, "sw_version": __version__}
    return {
        f"homeassistant/sensor/{node}/{key}/config": {
            **{name: value for name, value in sensor.items() if name != "from"},
            **(_choice(expressions) if key == "expression" else {}),
            "unique_id": f"{node}_{key}",
            "state_topic": sensor["from"](topics),
            "availability_topic": topics.available,
            "device": device,
        }
        for key, sensor in _SENSORS.items()
    }


def _choice(expressions: tuple[str, ...]) -> dict[str, Any]:
    """Keys of a sensor with a fixed set of states (device class `enum`), none of them twice."""
    options = list(dict.fromkeys((*expressions, NOTHING)))
    return {"device_class": "enum", "options": options} if 1 < len(options) <= _MOST_OPTIONS else {}
