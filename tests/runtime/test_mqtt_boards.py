"""Several boards on one broker, and what they leave behind there, against mosquitto on loopback."""

import json
import logging

import pytest

from fer_edge.cli import main
from fer_edge.identity import board_id, board_name
from fer_edge.sinks import mqtt, mqtt_topics, outbox
from fer_edge.sinks.mqtt import MqttSink, discovery
from fer_edge.sinks.mqtt_topics import Topics

from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.results import face, taken
from tests.runtime.fakes.servers import mosquitto
from tests.runtime.fakes.subscriber import Subscriber
from tests.runtime.test_mqtt import connected, vitals
from tests.waiting import eventually


@pytest.fixture
def broker():
    port = free_port()
    with mosquitto(port):
        yield port


@pytest.fixture
def as_board(monkeypatch):
    """Have the next sink be made on a board of this host name."""

    def become(name):
        monkeypatch.setattr(mqtt, "board_id", lambda: board_id(host_name=name))
        monkeypatch.setattr(mqtt_topics, "board_name", lambda: board_name(host_name=name))

    return become


def sink_of(port, topic=None, **rest):
    return MqttSink(f"mqtt://127.0.0.1:{port}", topic, vitals, **rest)


def kept_on(port):
    """Return the messages the broker retains, by topic; the marker comes behind all of them."""
    with Subscriber(port) as heard:
        heard._client.publish("marker", "here")
        heard.wait_for("marker")
        return heard.retained()


def test_two_boards_as_they_come_are_two_devices(broker, as_board):
    """One loses power; the other stays online, and each has sensors of its own."""
    as_board("kitchen")
    with sink_of(broker) as kitchen:
        connected(kitchen)
        as_board("door")
        door = sink_of(broker)
        with Subscriber(broker) as heard:
            door.__enter__()
            connected(door)
            heard.wait_for(f"fer-edge/{board_name(host_name='door')}/available")
            door._outbox._stop.set()
            door._outbox._client.socket().shutdown(2)  # as when the power goes
            heard.wait_for(f"fer-edge/{board_name(host_name='door')}/available", 2)
            door.__exit__(None, None, None)
        kept = kept_on(broker)
    available = {topic: said for topic, said in kept.items() if topic.endswith("/available")}
    assert sorted(available.values()) == ["offline", "online"]
    assert available[f"fer-edge/{board_name(host_name='kitchen')}/available"] == "online"
    configs = [json.loads(said) for topic, said in kept.items() if topic.endswith("/config")]
    assert len({config["unique_id"] for config in configs}) == 8
    assert len({config["device"]["identifiers"][0] for config in configs}) == 2


def test_a_board_called_offline_while_it_runs_says_that_it_is_online(broker):
    """The last will of a session before a power cut may come after the board is back."""
    with sink_of(broker, "door") as sink, Subscriber(broker) as heard:
        connected(sink)
        eventually(lambda: sink._outbox._heard)
        heard._client.publish("door/available", "offline", retain=True)
        eventually(lambda: heard.of("door/available")[-2:] == ["offline", "online"])
    assert kept_on(broker)["door/available"] == "offline", "and offline at its end"


def test_two_boards_that_were_given_one_topic_say_so(broker, as_board, caplog):
    as_board("kitchen")
    with sink_of(broker, "home") as kitchen:
        connected(kitchen)
        eventually(lambda: kitchen._outbox._heard)
        as_board("door")
        with sink_of(broker, "home") as door:
            for index in range(3):
                door.write(*taken(index))
                kitchen.write(*taken(index))
            eventually(lambda: "another board publishes below the topic home" in caplog.text)
        eventually(lambda: kitchen._outbox._client.is_connected())
    assert caplog.text.count("another board publishes") <= 2, "each of them once"


def test_two_programs_of_one_board_with_one_topic_say_so_and_lose_nothing(broker, caplog, monkeypatch):
    """They have one client identifier as well, so at first each ends the session of the other."""
    monkeypatch.setattr(outbox, "_FIRST_WAIT_S", 0.02)
    with Subscriber(broker) as heard, sink_of(broker, "home") as one, sink_of(broker, "home") as other:
        eventually(lambda: one._outbox._short_sessions >= 2 or other._outbox._short_sessions >= 2)
        for index in range(3):
            for sink in (one, other):
                sink.write(*taken(index, face("happy" if index % 2 else "sad")))
        eventually(lambda: (one.sent, other.sent) == (3, 3))
        assert len(heard.wait_for("home/events", 6)) >= 6
        eventually(lambda: "another fer-edge on this board publishes below the topic home" in caplog.text)


def test_a_boards_own_statistics_and_other_peoples_json_are_no_other_board(broker, caplog):
    with sink_of(broker, "home") as sink, Subscriber(broker) as heard:
        connected(sink)
        eventually(lambda: sink._outbox._heard)
        for payload in ("[" * 5000, "7", '{"board": 7}', "\xff", ""):
            heard._client.publish("home/stats", payload)
        sink.write(*taken(0))
        heard.wait_for("home/stats", 6)
        heard._client.publish("home/available", "offline")
        eventually(lambda: heard.of("home/available")[-1:] == ["online"])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_no_discovery_takes_earlier_announcements_back(broker):
    with sink_of(broker, "new/door") as sink:
        connected(sink)
        eventually(lambda: not sink._outbox._greeting)
    assert set(discovery(Topics("new/door"))) <= set(kept_on(broker))
    with sink_of(broker, "new/door", announce=False) as sink:
        connected(sink)
        eventually(lambda: not sink._outbox._greeting)
    assert not [topic for topic in kept_on(broker) if topic.startswith("homeassistant")]


# --- fer-edge mqtt-clear -------------------------------------------------------------------------------------------


def clear(port, *words):
    return main(["mqtt-clear", "--mqtt", f"mqtt://127.0.0.1:{port}", *words])


def test_mqtt_clear_removes_all_that_one_prefix_left_and_nothing_else(broker, capsys):
    for topic in ("old/door", "new/door"):
        with sink_of(broker, topic) as sink:
            sink.write(*taken(0, face("happy")))
            eventually(lambda sink=sink: sink.sent == 1)
    with Subscriber(broker) as other:
        lamp = {"device": {"model": "lamp"}, "availability_topic": "old/door/available"}
        strange = {"homeassistant/light/lamp/x/config": json.dumps(lamp), "old/door/settings": "theirs", "lamp": "on"}
        # As an earlier version named it.
        announced = json.dumps(discovery(Topics("old/door"))[next(iter(discovery(Topics("old/door"))))])
        for topic, payload in {**strange, "homeassistant/sensor/old_door/x/config": announced}.items():
            other._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    before = kept_on(broker)
    assert clear(broker, "--mqtt-topic", "old/door") == 0
    after = kept_on(broker)
    gone = {
        *discovery(Topics("old/door")),
        "old/door/available",
        "old/door/state",
        "homeassistant/sensor/old_door/x/config",
    }
    assert (
        set(before) - set(after) == gone
        and set(strange) < set(after)
        and set(discovery(Topics("new/door"))) < set(after)
    )
    assert set(capsys.readouterr().out.split()) == gone
    assert clear(broker, "--mqtt-topic", "old/door") == 0
    assert "nothing of this topic prefix" in capsys.readouterr().out


def test_mqtt_clear_takes_broker_and_prefix_from_the_configuration(broker, tmp_path):
    with sink_of(broker) as sink:
        connected(sink)
        eventually(lambda: not sink._outbox._greeting)
    config = tmp_path / "fer-edge.toml"
    config.write_text(
        f'[source]\naddress_file = "absent"\n[mqtt]\naddress = "mqtt://127.0.0.1:{broker}"\nno_discovery = false\n'
    )
    assert main(["mqtt-clear", "--config", str(config)]) == 0
    assert not [topic for topic in kept_on(broker) if topic != "marker"]


def test_mqtt_clear_says_why_it_cannot(capsys):
    port = free_port()
    assert clear(port) == 2
    assert f"no broker listens at 127.0.0.1 port {port}" in capsys.readouterr().err
    with mosquitto(port, "allow_anonymous false"):
        assert clear(port) == 2
    assert "the broker refuses the connection" in capsys.readouterr().err
    assert main(["mqtt-clear"]) == 2
    assert "--mqtt is needed" in capsys.readouterr().err
