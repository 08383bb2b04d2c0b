"""Messages that wait for an MQTT broker, and the thread that delivers them to one that may come and go."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from fer_edge.broker import KEEPALIVE_S, Broker, failure, new_client, refusal, topic_of, unanswered
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.troubles import Troubles

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

logger = logging.getLogger("fer_edge")

# Events kept until the broker has acknowledged them; what comes beyond is counted and lost.
MAX_WAITING = 1000
# How many of them are on their way at once.
_IN_FLIGHT = 20
# How long the thread listens before it looks for something new to send.
_LISTEN_S = 0.1
# A connection that held for so long was no passing one: the next trouble is told again, and waited for briefly.
_LASTING_S = 10.0
# At the end: for the events that still wait, for the farewell, and for the thread; a program has to end within 2 s.
_GRACE_S = 0.5
_FAREWELL_S = 0.5
_JOIN_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_ENOUGH_SHORT_SESSIONS = 2


class Sender(NamedTuple):
    """Who publishes: the board, and which of its processes. It stands in the statistics, for others to find out."""

    board: str
    process: str


class Outbox:
    """Delivers events, each once it is acknowledged, and the newest payload of other topics.

    Events wait in a bounded queue until the broker acknowledged them, and then count in `sent`. Those beyond the bound
    count in `lost`, and at the end those that still wait: it only grows, and any thread may read it. An event whose
    acknowledgement a broken connection swallowed is sent again. `announcements` are retained payloads by topic, said
    on each connection. `name` begins every line of the log.
    """

    def __init__(
        self, name: str, broker: Broker, topics: Topics, sender: Sender, announcements: Mapping[str, str]
    ) -> None:
        self._name, self._broker, self._topics, self._sender = name, broker, topics, sender
        self._announcements = announcements
        self._short_sessions = 0
        self._client: Client | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._until_s = float("inf")
        self._wait_s = _FIRST_WAIT_S
        self._troubles = Troubles()
        self._connected_at_s: float | None = None
        self._welcome: bool | None = None
        self._listens, self._heard = True, False
        self._other_told = False
        self.sent = self.lost = 0
        self._lost_told = 0
        # Events nobody acknowledged yet, and what of their beginning is on its way. `add` only appends; all else is
        # the thread's, because paho writes to the socket in whichever thread publishes.
        self._waiting: deque[str] = deque()
        self._in_flight: deque[MQTTMessageInfo] = deque()
        # What a new connection has to say first, by topic.
        self._greeting: deque[tuple[str, str]] = deque()
        # The newest payload of the topics where only that one counts, and what this connection sent of it.
        self._newest: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def open(self) -> None:
        """Begin to connect; a broker that is away is no error. Raises UsageError without paho-mqtt."""
        self._client = self._new_client()  # already here, because the thread could not raise
        self._stop.clear()
        # A thread of our own instead of paho's, because that one sleeps through a request to stop.
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give what waits a moment to leave, say goodbye if the broker listens, and join the thread."""
        if self._thread is None:
            return
        self._until_s = time.monotonic() + _GRACE_S
        self._stop.set()
        self._thread.join(_GRACE_S + _FAREWELL_S + _JOIN_S)
        if self._waiting:
            logger.warning("%s: closed; %d events were not acknowledged and are lost.", self._name, len(self._waiting))
            self.lost += len(self._waiting)
            self._waiting.clear()

    def add(self, event: str) -> None:
        """Have an event delivered. Never waits for the broker."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(event)
        else:
            self.lost += 1

    def put(self, topic: str, payload: str) -> None:
        """Have the payload delivered, unless a newer one of the same topic comes first. Never waits for the broker."""
        self._newest[topic] = payload

    def _tell(self, trouble: str) -> None:
        end = " Trying again." if trouble.endswith("?") else "; trying again."
        self._troubles.tell(f"{self._name}: {trouble.rstrip('.')}{end}")

    def _new_client(self) -> Client:
        # The broker ends an older session of the same identifier, such as one before a power cut, with its last will.
        # Where two programs of one board have the same, they would end each other's sessions for ever.
        own = f" {self._sender.process}" if self._short_sessions >= _ENOUGH_SHORT_SESSIONS else ""
        client = new_client(self._broker, client_id(self._sender.board, f"{self._topics.prefix}{own}"))
        client.will_set(self._topics.available, "offline", qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_subscribe = self._on_message, self._on_subscribe
        return client

    def _run(self) -> None:
        """Stay connected; after each loss wait, ever longer, and connect again."""
        while True:
            self._connected_at_s, self._welcome = None, None
            try:
                # A new client each time: the old one keeps what was in flight in a queue of its own, beside ours.
                self._client = client = self._new_client()
                client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
                self._talk(client)
            except Exception as error:  # whatever a network library raises, it is tried again
                self._tell(failure(error, self._broker))
            if self._stop.wait(self._wait_s):
                return
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _talk(self, client: Client) -> None:
        """Send what there is until the connection ends, or the outbox is closed and all is said."""
        self._greeting = deque([(self._topics.available, "online"), *self._announcements.items()])
        self._in_flight.clear()
        self._told.clear()
        while not self._is_over():
            if client.loop(_LISTEN_S) != 0:
                return
            if client.is_connected():
                self._note_lasting()
                self._take_acknowledged()
                self._send(client)
        self._part(client)

    def _note_lasting(self) -> None:
        if self._connected_at_s is not None and time.monotonic() - self._connected_at_s >= _LASTING_S:
            self._connected_at_s = None
            self._wait_s = _FIRST_WAIT_S
            self._troubles.relieve(f"{self._name}: connected again.")
            self._troubles.over()

    def _is_over(self) -> bool:
        return self._stop.is_set() and (not self._waiting or time.monotonic() >= self._until_s)

    def _send(self, client: Client) -> None:
        """Publish the greeting, then the newest of each topic, then as many events as may be in flight.

        What paho refuses stays where it is and is tried again when the thread comes by next.
        """
        while self._greeting:
            topic, payload = self._greeting[0]
            if client.publish(topic, payload, qos=1, retain=True).rc != 0:
                return
            self._greeting.popleft()
        for topic in (self._topics.state, self._topics.stats):
            newest = self._newest.get(topic)
            if newest is not None and newest is not self._told.get(topic):
                if client.publish(topic, newest, qos=0, retain=topic in self._topics.retained).rc != 0:
                    return
                self._told[topic] = newest
        while len(self._in_flight) < min(_IN_FLIGHT, len(self._waiting)):
            sent = client.publish(self._topics.events, self._waiting[len(self._in_flight)], qos=1)
            if sent.rc != 0:
                return
            self._in_flight.append(sent)

    def _take_acknowledged(self) -> None:
        while self._in_flight and self._in_flight[0].is_published():
            self._in_flight.popleft()
            self._waiting.popleft()
            self.sent += 1

    def _part(self, client: Client) -> None:
        """Say goodbye if the broker listens, behind the last state."""
        if client.is_connected():
            self._send(client)
            said = client.publish(self._topics.available, "offline", qos=1, retain=True)
            end_s = time.monotonic() + _FAREWELL_S
            while said.rc == 0 and not said.is_published() and time.monotonic() < end_s:
                if client.loop(_LISTEN_S) != 0:
                    break
            self._take_acknowledged()
        client.disconnect()

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._welcome = not reason.is_failure
        if reason.is_failure:
            self._tell(refusal(reason))
            return
        self._connected_at_s = time.monotonic()
        if self._listens:  # to what others say below this prefix
            client.subscribe([(self._topics.available, 0), (self._topics.stats, 0)])
        if self.lost > self._lost_told:
            logger.warning("%s: connected; %d events were lost meanwhile.", self._name, self.lost - self._lost_told)
            self._lost_told = self.lost

    def _on_disconnect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._welcome is False or not reason.is_failure:
            return  # a refusal was told already
        if self._welcome is None:
            self._tell(unanswered(self._broker))
        elif self._connected_at_s is not None:
            # Some brokers end the connection of a client that may not subscribe. It can do without.
            self._listens = self._listens and self._heard
            self._short_sessions += 1
            hint = "is another fer-edge connected with this topic prefix?"
            self._tell(f"connection lost at once ({reason}); {hint} See --mqtt-topic {self._topics.prefix}")
        else:
            self._tell(f"connection lost ({reason})")

    def _on_subscribe(self, client: Client, data: Any, number: int, reasons: Any, properties: Any) -> None:
        self._heard = True

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        """Somebody, perhaps this program itself, said something below the prefix."""
        if topic_of(message) == self._topics.available:
            # The last will of an older session, or of another board, while this program runs.
            if message.payload == b"offline" and not message.retain and not self._stop.is_set():
                self._greeting.append((self._topics.available, "online"))
        elif not self._other_told and (sender := _sender_of(message.payload)) is not None:
            self._other_told = sender != self._sender
            if self._other_told:
                who = "another board" if sender.board != self._sender.board else "another fer-edge on this board"
                text = "%s: %s publishes below the topic %s, too. Give each its own --mqtt-topic."
                logger.warning(text, self._name, who, self._topics.prefix)


def client_id(board: str, topic: str) -> str:
    """The identifier of this board and topic, of the 23 letters and digits that every broker takes."""
    return f"feredge{hashlib.sha256(f'{board} {topic}'.encode()).hexdigest()[:16]}"


def _sender_of(payload: bytes | bytearray) -> Sender | None:
    """The board and the process that sent these statistics."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    board, process = (found.get("board"), found.get("process")) if isinstance(found, dict) else (None, None)
    return Sender(board, process) if isinstance(board, str) and isinstance(process, str) else None
