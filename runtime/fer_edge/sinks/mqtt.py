"""MQTT: events, state and statistics to a broker, with a last will. Needs the extra `mqtt` (paho-mqtt).

Topics below the prefix: `available` (online or offline; retained), `events` (a face appeared, changed, left), `state`
(faces and the largest one's expression; retained) and `stats` (how the program fares). No picture is ever sent.

The prefix is this board's own unless another is set: two boards below one prefix would overwrite each other's state,
and the last will of one would call the other offline. Where it happens all the same, each says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge.broker import KEEPALIVE_S, TlsFiles, broker_at, failure, new_client, refusal, topic_of, unanswered
from fer_edge.errors import UsageError
from fer_edge.frames import Frame, FrameResult
from fer_edge.identity import board_id, board_name
from fer_edge.program.vitals import Vitals
from fer_edge.sinks.home_assistant import discovery
from fer_edge.sinks.track_events import TrackEvents
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
_STATS_PERIOD_S = 10.0
_STATE_PERIOD_S = 1.0
# A connection that held for so long was no passing one: the next trouble is told again, and waited for briefly.
_LASTING_S = 10.0
# At the end: for the events that still wait, for the farewell, and for the thread; a program has to end within 2 s.
_GRACE_S = 0.5
_FAREWELL_S = 0.5
_JOIN_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LONGEST_PREFIX = 200
_ENOUGH_SHORT_SESSIONS = 2


def checked_topic(prefix: str | None) -> str:
    """The topic prefix as given, or this board's own. Raises UsageError for one that no broker would take."""
    if prefix is None:
        return f"fer-edge/{board_name()}"
    wrong = not prefix or not prefix.isprintable() or len(prefix) > _LONGEST_PREFIX or set(prefix) & set("+#")
    if wrong or prefix.startswith(("/", "$")) or prefix.endswith("/"):
        raise UsageError(f"--mqtt-topic {prefix[:_LONGEST_PREFIX]!r}: expected a prefix such as home/door.")
    return prefix


class MqttSink:
    """Sends what happens to a broker, which may come and go: a thread connects again, ever less often.

    `topic` begins every topic; None takes one that no other board has. Events wait in a bounded queue until the broker
    acknowledged them, and then count in `sent`. Those beyond the bound count in `lost`, and at the end those that still
    wait: it only grows, and any thread may read it. An event whose acknowledgement a broken connection swallowed is
    sent again. `expressions` are all that the model may say, for Home Assistant to offer. Without `announce` it is told
    to forget what was announced below this prefix before.
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
        self._topic = checked_topic(topic)
        self._broker = broker_at(address, files)
        self.name = f"mqtt {self._broker.shown}"
        self._vitals, self._announce, self._expressions = vitals, announce, expressions
        self._board, self._process = board_id()[:12], secrets.token_hex(4)
        self._short_sessions = 0
        self._events = TrackEvents()
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
        # Events nobody acknowledged yet, and what of their beginning is on its way. `write` only appends; all else is
        # the thread's, because paho writes to the socket in whichever thread publishes.
        self._waiting: deque[str] = deque()
        self._in_flight: deque[MQTTMessageInfo] = deque()
        # What a new connection has to say first, by topic.
        self._greeting: deque[tuple[str, str]] = deque()
        # The newest payload of the topics where only that one counts, and what this connection sent of it.
        self._newest: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._state: tuple[int, str | None] | None = None
        self._state_at_s = self._stats_at_s = float("-inf")

    def __enter__(self) -> MqttSink:
        """Begin to connect; a broker that is away is no error. Raises UsageError without paho-mqtt."""
        self._client = self._new_client()  # already here, because the thread could not raise
        self._stop.clear()
        # A thread of our own instead of paho's, because that one sleeps through a request to stop.
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give what waits a moment to leave, say goodbye if the broker listens, and join the thread."""
        if self._thread is None:
            return
        self._until_s = time.monotonic() + _GRACE_S
        self._stop.set()
        self._thread.join(_GRACE_S + _FAREWELL_S + _JOIN_S)
        if self._waiting:
            logger.warning("%s: closed; %d events were not acknowledged and are lost.", self.name, len(self._waiting))
            self.lost += len(self._waiting)
            self._waiting.clear()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Have what changed published. Never waits for the broker."""
        now_s = time.monotonic()
        for event in self._events.of(result):
            self._add_event({**dataclasses.asdict(event), "source": result.source, "unix_time_s": time.time()})
        self._note_state(result, now_s)
        if now_s - self._stats_at_s >= _STATS_PERIOD_S:
            self._stats_at_s = now_s
            self._newest["stats"] = json.dumps(self._stats(result))

    def _tell(self, trouble: str) -> None:
        end = " Trying again." if trouble.endswith("?") else "; trying again."
        self._troubles.tell(f"{self.name}: {trouble.rstrip('.')}{end}")

    def _add_event(self, event: dict[str, Any]) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(json.dumps(event))
        else:
            self.lost += 1

    def _note_state(self, result: FrameResult, now_s: float) -> None:
        """Faces and the largest one's expression, when they change, once a second at most."""
        largest = max(result.faces, key=lambda face: face.box_px.width_px * face.box_px.height_px, default=None)
        state = (len(result.faces), None if largest is None else largest.expression)
        if state == self._state or now_s - self._state_at_s < _STATE_PERIOD_S:
            return
        self._state, self._state_at_s = state, now_s
        confidence = None if largest is None else round(largest.confidence, 3)
        self._newest["state"] = json.dumps({"faces": state[0], "expression": state[1], "confidence": confidence})

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
            "board": self._board,
            "process": self._process,
        }

    def _new_client(self) -> Client:
        # The broker ends an older session of the same identifier, such as one before a power cut, with its last will.
        # Where two programs of one board have the same, they would end each other's sessions for ever.
        own = f" {self._process}" if self._short_sessions >= _ENOUGH_SHORT_SESSIONS else ""
        client = new_client(self._broker, client_id(self._board, f"{self._topic}{own}"))
        client.will_set(f"{self._topic}/available", "offline", qos=1, retain=True)
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
        """Send what there is until the connection ends, or the sink is closed and has said all."""
        self._greeting = deque([(f"{self._topic}/available", "online")])
        # An empty payload has the broker keep nothing, and Home Assistant forget the sensor.
        for topic, payload in discovery(self._topic, self._expressions).items():
            self._greeting.append((topic, json.dumps(payload) if self._announce else ""))
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
            self._troubles.relieve(f"{self.name}: connected again.")
            self._troubles.over()

    def _is_over(self) -> bool:
        return self._stop.is_set() and (not self._waiting or time.monotonic() >= self._until_s)

    def _send(self, client: Client) -> None:
        """Publish the greeting, then the newest state and statistics, then as many events as may be in flight.

        What paho refuses stays where it is and is tried again when the thread comes by next.
        """
        while self._greeting:
            topic, payload = self._greeting[0]
            if client.publish(topic, payload, qos=1, retain=True).rc != 0:
                return
            self._greeting.popleft()
        for name, retain in (("state", True), ("stats", False)):
            newest = self._newest.get(name)
            if newest is not None and newest is not self._told.get(name):
                if client.publish(f"{self._topic}/{name}", newest, qos=0, retain=retain).rc != 0:
                    return
                self._told[name] = newest
        while len(self._in_flight) < min(_IN_FLIGHT, len(self._waiting)):
            sent = client.publish(f"{self._topic}/events", self._waiting[len(self._in_flight)], qos=1)
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
            said = client.publish(f"{self._topic}/available", "offline", qos=1, retain=True)
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
            client.subscribe([(f"{self._topic}/available", 0), (f"{self._topic}/stats", 0)])
        if self.lost > self._lost_told:
            logger.warning("%s: connected; %d events were lost meanwhile.", self.name, self.lost - self._lost_told)
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
            self._tell(f"connection lost at once ({reason}); {hint} See --mqtt-topic {self._topic}")
        else:
            self._tell(f"connection lost ({reason})")

    def _on_subscribe(self, client: Client, data: Any, number: int, reasons: Any, properties: Any) -> None:
        self._heard = True

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        """Somebody, perhaps this program itself, said something below the prefix."""
        if topic_of(message).endswith("/available"):
            # The last will of an older session, or of another board, while this program runs.
            if message.payload == b"offline" and not message.retain and not self._stop.is_set():
                self._greeting.append((f"{self._topic}/available", "online"))
        elif not self._other_told and (sender := _sender_of(message.payload)) is not None:
            self._other_told = sender != (self._board, self._process)
            if self._other_told:
                who = "another board" if sender[0] != self._board else "another fer-edge on this board"
                text = "%s: %s publishes below the topic %s, too. Give each its own --mqtt-topic."
                logger.warning(text, self.name, who, self._topic)


def client_id(board: str, topic: str) -> str:
    """The identifier of this board and topic, of the 23 letters and digits that every broker takes."""
    return f"feredge{hashlib.sha256(f'{board} {topic}'.encode()).hexdigest()[:16]}"


def _sender_of(payload: bytes | bytearray) -> tuple[str, str] | None:
    """The board and the process that sent these statistics."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    board, process = (found.get("board"), found.get("process")) if isinstance(found, dict) else (None, None)
    return (board, process) if isinstance(board, str) and isinstance(process, str) else None
