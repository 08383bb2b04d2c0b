"""`fer-edge mqtt-clear`: have a broker forget what fer-edge published there to stay, before a rename or an uninstall.

A retained message stays on the broker until somebody publishes an empty one in its place, and Home Assistant shows an
announced sensor for as long.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fer_edge.broker import KEEPALIVE_S, Broker, broker_at, failure, new_client, refusal, tls_files, unanswered
from fer_edge.errors import UsageError
from fer_edge.settings import MqttSettings
from fer_edge.sinks.home_assistant import MODEL, discovery
from fer_edge.sinks.mqtt import checked_topic

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

_ANNOUNCEMENTS = "homeassistant/+/+/+/config"
_RETAINED = ("available", "state")
_LISTEN_S = 0.1
# A broker sends what it retains right after the subscription; when it was silent for so long, that was all.
_SILENCE_S = 1.0
_PATIENCE_S = 10.0


def clear_broker(settings: MqttSettings) -> list[str]:
    """Take back every retained message of the topic prefix; return their topics, sorted.

    Raises UsageError where the broker cannot be reached or refuses.
    """
    if settings.address is None:
        raise UsageError("--mqtt is needed: the broker to clear, such as mqtt://broker.local.")
    broker = broker_at(settings.address, tls_files(settings))
    prefix = checked_topic(settings.topic)
    session = _Session(broker)
    try:
        kept = session.retained([*(f"{prefix}/{name}" for name in _RETAINED), _ANNOUNCEMENTS])
        own = sorted(topic for topic, payload in kept.items() if _is_of(prefix, topic, payload))
        # Also what this client may not read, but may write.
        session.publish_empty({*own, *(f"{prefix}/{name}" for name in _RETAINED), *discovery(prefix)})
    finally:
        session.close()
    return own


def _is_of(prefix: str, topic: str, payload: bytes) -> bool:
    """Is this message fer-edge's and of this prefix? An announcement names its topics, whatever its own name is."""
    if topic in (f"{prefix}/{name}" for name in _RETAINED):
        return True
    try:
        found: Any = json.loads(payload)
        return (found["device"]["model"], found["availability_topic"]) == (MODEL, f"{prefix}/available")
    except (ValueError, RecursionError, LookupError, TypeError):
        return False


class _Session:
    """One connection, made at once. Raises UsageError where that fails."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._trouble: str | None = None
        self._retained: dict[str, bytes] = {}
        self._heard_at_s = 0.0
        self._client: Client = new_client(broker, f"feredge{secrets.token_hex(8)}")
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        try:
            self._client.connect(broker.host, broker.port, KEEPALIVE_S)
        except Exception as error:  # whatever a network library raises
            raise self._error(failure(error, broker)) from None
        self._loop_until(self._client.is_connected, unanswered(broker))

    def retained(self, topics: Sequence[str]) -> dict[str, bytes]:
        """What the broker retains of these topics, by topic."""
        self._client.subscribe([(topic, 0) for topic in topics])
        self._heard_at_s = time.monotonic()
        self._loop_until(lambda: time.monotonic() - self._heard_at_s >= _SILENCE_S, "the broker never falls silent")
        return {topic: payload for topic, payload in self._retained.items() if payload}

    def publish_empty(self, topics: set[str]) -> None:
        """Have the broker forget what it retains of these topics."""
        sent = [self._client.publish(topic, b"", qos=1, retain=True) for topic in sorted(topics)]
        self._loop_until(lambda: all(one.is_published() for one in sent), "the broker does not acknowledge")

    def close(self) -> None:
        self._client.disconnect()

    def _loop_until(self, is_so: Any, otherwise: str) -> None:
        end_s = time.monotonic() + _PATIENCE_S
        while not is_so():
            ended = self._client.loop(_LISTEN_S) != 0
            if self._trouble is not None:
                raise self._error(self._trouble)
            if ended or time.monotonic() > end_s:
                raise self._error(otherwise)

    def _error(self, reason: str) -> UsageError:
        end = "" if reason.endswith("?") else "."
        return UsageError(f"mqtt {self._broker.shown}: {reason}{end}")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._trouble = refusal(reason)

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._heard_at_s = time.monotonic()
        if message.retain:
            self._retained[message.topic] = bytes(message.payload)
