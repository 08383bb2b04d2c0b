"""An MQTT client that hears everything, to see what a broker was told."""

import threading

import pytest

from tests.waiting import TIMEOUT_S

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is absent; the extra `mqtt` brings it")


class Subscriber:
    """Keeps every message below `#`, in the order they came."""

    def __init__(self, port):
        self.messages = []
        self._heard = threading.Condition()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *rest: client.subscribe("#", qos=1)
        self._client.on_message = self._note
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *rest: self._subscribed.set()
        self._client.connect("127.0.0.1", port)

    def __enter__(self):
        self._client.loop_start()
        assert self._subscribed.wait(10)
        return self

    def __exit__(self, *reason):
        self._client.disconnect()
        self._client.loop_stop()

    def _note(self, client, data, message):
        with self._heard:
            self.messages.append((message.topic, message.payload.decode(), message.retain))
            self._heard.notify_all()

    def of(self, topic):
        return [payload for name, payload, _ in self.messages if name == topic]

    def wait_for(self, topic, count=1, timeout_s=TIMEOUT_S):
        with self._heard:
            arrived = self._heard.wait_for(lambda: len(self.of(topic)) >= count, timeout_s)
        assert arrived, f"{topic}: {len(self.of(topic))} of {count} messages; {self.messages[-5:]}"
        return self.of(topic)

    def retained(self):
        """Return the messages the broker keeps, by topic: heard right after subscribing."""
        return {topic: payload for topic, payload, retain in self.messages if retain}
