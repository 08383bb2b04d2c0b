"""`fer-edge mqtt-clear`: have a broker forget what fer-edge published there to stay, before a rename or an uninstall.

A retained message stays on the broker until somebody publishes an empty one in its place, and Home Assistant shows an
announced sensor for as long.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from fer_edge.broker import Session, broker_at, tls_files, topic_of
from fer_edge.errors import UsageError
from fer_edge.settings import MqttSettings
from fer_edge.sinks.home_assistant import MODEL, discovery
from fer_edge.sinks.mqtt_topics import Topics, topics_below

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_ANNOUNCEMENTS = "homeassistant/+/+/+/config"
# A broker sends what it retains right after the subscription; when it was silent for so long, that was all.
_SILENCE_S = 1.0


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
