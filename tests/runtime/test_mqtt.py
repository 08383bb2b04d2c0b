"""MQTT, against mosquitto on loopback: what arrives, and what happens while the broker is away."""

import json
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.board import BoardState
from fer_edge.broker import broker_at, new_client
from fer_edge.errors import UsageError
from fer_edge.identity import distinct_slug
from fer_edge.program.vitals import Vitals
from fer_edge.sinks import outbox
from fer_edge.sinks.mqtt import MqttSink, discovery
from fer_edge.sinks.mqtt_topics import Topics
from fer_edge.sinks.track_events import TrackEvents

from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.results import face, taken
from tests.runtime.fakes.servers import mosquitto
from tests.runtime.fakes.subscriber import Subscriber
from tests.waiting import TIMEOUT_S, eventually

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is absent; the extra `mqtt` brings it")


def vitals():
    return Vitals(14.5, None, 0, BoardState(51.5, None, False, 90.0))


def connected(sink):
    eventually(lambda: sink._outbox._client.is_connected())


def test_events_state_and_statistics_arrive():
    port = free_port()
    with mosquitto(port), Subscriber(port) as heard:
        with MqttSink(f"mqtt://127.0.0.1:{port}", "home/door", vitals) as sink:
            connected(sink)
            for index in range(30):
                sink.write(*taken(index, face("happy" if index < 10 else "sad", track_id=7)))
            for index in range(30, 45):
                sink.write(*taken(index))
            events = [json.loads(text) for text in heard.wait_for("home/door/events", 3)]
            state = json.loads(heard.wait_for("home/door/state")[0])
        heard.wait_for("home/door/available", 2)
    assert [(event["kind"], event["track_id"], event["before"], event["expression"]) for event in events] == [
        ("appeared", 7, None, "happy"),
        ("changed", 7, "happy", "sad"),
        ("left", 7, "sad", "sad"),
    ]
    assert events[1]["frame_index"] == 10 and events[1]["unix_time_s"] == pytest.approx(time.time(), abs=60)
    assert state == {"faces": 1, "expression": "happy", "confidence": 0.79}
    assert heard.of("home/door/available") == ["online", "offline"]
    stats = json.loads(heard.of("home/door/stats")[0])
    assert (stats["fps"], stats["temp_c"], stats["events_lost"]) == (14.5, 51.5, 0)


def test_home_assistant_finds_the_sensors_by_itself():
    port = free_port()
    with mosquitto(port), Subscriber(port) as heard:
        with MqttSink(f"mqtt://127.0.0.1:{port}", "home/door", vitals):
            payload = json.loads(
                heard.wait_for(f"homeassistant/sensor/{distinct_slug('home/door')}/expression/config")[0]
            )
        with MqttSink(f"mqtt://127.0.0.1:{port}", "shy", vitals, announce=False) as sink:
            connected(sink)
            heard.wait_for("shy/available")
    assert payload["state_topic"] == "home/door/state"
    assert payload["availability_topic"] == "home/door/available"
    assert payload["unique_id"] == f"{distinct_slug('home/door')}_expression"
    assert not [topic for topic, said, _ in heard.messages if "shy" in topic and topic.startswith("homeass") and said]
    assert len({config["unique_id"] for config in discovery(Topics("a")).values()}) == 4


def test_the_last_will_says_offline_when_the_program_dies():
    port = free_port()
    with mosquitto(port), Subscriber(port) as heard:
        sink = MqttSink(f"mqtt://127.0.0.1:{port}", "fer-edge", vitals)
        sink.__enter__()
        connected(sink)
        heard.wait_for("fer-edge/available")
        sink._outbox._client.socket().shutdown(2)  # as when the power goes
        assert heard.wait_for("fer-edge/available", 2)[1] == "offline"
        sink.__exit__(None, None, None)


@pytest.fixture
def may_connect(monkeypatch):
    """The sink connects only while this is set: a subscriber can be there before the events come."""
    allowed = threading.Event()
    allowed.set()

    def gated(*arguments):
        client = new_client(*arguments)
        connect = client.connect
        client.connect = lambda *where: (allowed.wait(), connect(*where))
        return client

    monkeypatch.setattr(outbox, "new_client", gated)
    yield allowed
    allowed.set()


def test_a_broker_killed_and_started_again_gets_what_happened_meanwhile(caplog, monkeypatch, may_connect):
    """Events in between are bounded and those beyond the bound are counted."""
    monkeypatch.setattr(outbox, "MAX_WAITING", 20)
    port = free_port()
    with mosquitto(port) as broker, MqttSink(f"mqtt://127.0.0.1:{port}", "fer-edge", vitals) as sink:
        connected(sink)
        with Subscriber(port) as first:
            first.wait_for("fer-edge/available")
        may_connect.clear()
        broker.kill()
        broker.wait()
        eventually(lambda: not sink._outbox._client.is_connected())
        for index in range(50):
            sink.write(*taken(index, face("happy" if index % 2 else "sad", track_id=1)))
        assert sink.lost == 30
        with mosquitto(port), Subscriber(port) as heard:
            may_connect.set()
            events = [json.loads(text) for text in heard.wait_for("fer-edge/events", 20)]
            eventually(lambda: sink.sent == 20)  # or the queue is still full
            sink.write(*taken(50, face("fear", track_id=1)))
            heard.wait_for("fer-edge/events", 21)
            eventually(lambda: sink.sent == 21)
    assert (sink.sent, sink.lost) == (21, 30)
    assert [event["frame_index"] for event in events[:20]] == list(range(20))
    assert "30 events were lost" in caplog.text


def test_a_broker_that_never_answers_holds_nothing_up(caplog):
    with MqttSink(f"mqtt://127.0.0.1:{free_port()}", "fer-edge", vitals) as sink:
        for index in range(3000):
            sink.write(*taken(index, face("happy" if index % 2 else "sad", track_id=1)))
        assert (sink.sent, sink.lost) == (0, 3000 - outbox.MAX_WAITING)
    assert (sink.sent, sink.lost) == (0, 3000)
    assert f"{outbox.MAX_WAITING} events were not acknowledged" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "mqtt"]


def test_a_full_queue_keeps_nothing_else_from_a_broker_that_comes_back(may_connect):
    """It hears that the program is online, and Home Assistant's configuration, before the events that waited."""
    may_connect.clear()
    port = free_port()
    with MqttSink(f"mqtt://127.0.0.1:{port}", "fer-edge", vitals) as sink:
        for index in range(outbox.MAX_WAITING + 100):
            sink.write(*taken(index, face("happy" if index % 2 else "sad", track_id=1)))
        with mosquitto(port), Subscriber(port) as heard:
            may_connect.set()
            events = [json.loads(text) for text in heard.wait_for("fer-edge/events", outbox.MAX_WAITING)]
            eventually(lambda: sink.sent == outbox.MAX_WAITING)
            assert heard.of("fer-edge/available") == ["online"]
            topics = [topic for topic, *_ in heard.messages]
            said_first = {"fer-edge/available", *discovery(Topics("fer-edge"))}
            assert set(topics[: len(said_first)]) == said_first
            assert heard.of("fer-edge/state")
            with Subscriber(port) as later:  # hears what is retained
                for topic in ("fer-edge/state", *said_first):
                    later.wait_for(topic)
                assert later.of("fer-edge/available") == ["online"]
                assert all(retained for *_, retained in later.messages)
    assert [event["frame_index"] for event in events] == list(range(outbox.MAX_WAITING))
    assert (sink.sent, sink.lost) == (outbox.MAX_WAITING, 100)


def test_what_paho_refuses_is_tried_again(monkeypatch):
    port = free_port()
    refused = []
    publish = paho.Client.publish

    def refuse_once(client, topic, payload=None, **rest):
        if (topic, payload) in refused:
            return publish(client, topic, payload, **rest)
        refused.append((topic, payload))
        info = paho.MQTTMessageInfo(0)
        info.rc = paho.MQTT_ERR_QUEUE_SIZE
        return info

    with mosquitto(port), Subscriber(port) as heard:
        monkeypatch.setattr(paho.Client, "publish", refuse_once)
        with MqttSink(f"mqtt://127.0.0.1:{port}", "fer-edge", vitals) as sink:
            sink.write(*taken(0, face("happy", track_id=1), face("sad", track_id=2)))
            heard.wait_for("fer-edge/events", 2)
        assert heard.of("fer-edge/available")[0] == "online"
        for topic in (*discovery(Topics("fer-edge")), "fer-edge/state", "fer-edge/stats"):
            heard.wait_for(topic)
    assert len(refused) >= 9
    assert (sink.sent, sink.lost) == (2, 0)


def test_an_event_just_before_the_end_still_arrives():
    """As of a picture, where the end comes before the connection."""
    port = free_port()
    with mosquitto(port), Subscriber(port) as heard:
        with MqttSink(f"mqtt://127.0.0.1:{port}", "fer-edge", vitals) as sink:
            sink.write(*taken(0, face("happy")))
        heard.wait_for("fer-edge/available", 2)
        assert heard.of("fer-edge/available") == ["online", "offline"]
        assert len(heard.of("fer-edge/events")) == len(heard.of("fer-edge/state")) == 1
    assert (sink.sent, sink.lost) == (1, 0)


def test_events_a_broker_never_acknowledges_are_lost_after_a_moment(caplog):
    """A server that welcomes the client and then only listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def welcome():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x20\x02\x00\x00")
                while connection.recv(4096):
                    pass

        broker = threading.Thread(target=welcome)
        broker.start()
        with MqttSink(f"mqtt://127.0.0.1:{server.getsockname()[1]}", "fer-edge", vitals) as sink:
            connected(sink)
            for index in range(50):
                sink.write(*taken(index, face("happy" if index % 2 else "sad", track_id=1)))
            assert sink.lost == 0
        broker.join(TIMEOUT_S)
    assert not broker.is_alive()
    assert (sink.sent, sink.lost) == (0, 50)
    assert "50 events were not acknowledged" in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        *("", "broker", "http://broker", "mqtt://", "mqtt://broker:port", "mqtt://me:hunter2@broker/topic"),
        *("me:hunter2@broker", "mqtt:/me:hunter2@broker", "mqtt://a..b", f"mqtt://{'x' * 70}", "mqtt://b#hunter2"),
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(address):
    with pytest.raises(UsageError, match="expected mqtt://") as refused:
        MqttSink(address, "fer-edge", vitals)
    assert "hunter2" not in str(refused.value)


def test_user_password_and_port_are_taken_from_the_address():
    broker = broker_at("mqtts://me:p%40ss@broker.local")
    assert (broker.host, broker.port, broker.user, broker.password) == ("broker.local", 8883, "me", "p@ss")
    assert broker.tls is not None and broker_at("mqtt://broker.local").tls is None
    assert "p@ss" not in broker.shown and "p%40ss" not in broker.shown


@pytest.mark.parametrize("topic", ["", "/", "a/#", "+", "$SYS/x", "a/", "a\0b", "a\nb", "\ud800", "x" * 300])
def test_a_topic_prefix_that_is_none_is_refused(topic):
    with pytest.raises(UsageError, match="--mqtt-topic"):
        MqttSink("mqtt://broker", topic, vitals)


@given(st.lists(st.sets(st.integers(0, 5)), max_size=60))
def test_every_face_that_appeared_leaves_once(frames):
    events = TrackEvents()
    seen = []
    for index, ids in enumerate([*frames, *[set()] * 15]):
        seen += events.of(taken(index, *(face(track_id=number) for number in ids))[1])
    for number in {event.track_id for event in seen}:
        kinds = [event.kind for event in seen if event.track_id == number]
        assert kinds == ["appeared", "left"] * (len(kinds) // 2)
    assert {event.track_id for event in seen} == set().union(*frames)
