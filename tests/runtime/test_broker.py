"""Brokers that encrypt, refuse or are not what the address says: real ones, and what the user reads then."""

import logging
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from fer_edge.broker import TlsFiles, broker_at, tls_files
from fer_edge.cli import main
from fer_edge.errors import UsageError
from fer_edge.settings import MqttSettings
from fer_edge.sinks import outbox
from fer_edge.sinks.mqtt import MqttSink

from tests.runtime.fakes.certificates import Authority
from tests.runtime.fakes.mjpeg_server import free_port
from tests.runtime.fakes.results import face, taken
from tests.runtime.fakes.servers import mosquitto
from tests.runtime.test_mqtt import connected, vitals
from tests.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def secured(authority, server, *lines):
    """The lines of a listener with this certificate and key."""
    certificate, key = server
    more = lines or ("allow_anonymous true",)
    return (f"cafile {authority.certificate}", f"certfile {certificate}", f"keyfile {key}", *more)


@contextmanager
def sink_to(port, *, scheme="mqtts", host="localhost", **files):
    with MqttSink(f"{scheme}://{host}:{port}", "door", vitals, files=TlsFiles(**files)) as sink:
        yield sink


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def the_warning(caplog):
    eventually(lambda: warnings(caplog))
    return warnings(caplog)[0]


def test_a_certificate_of_an_authority_of_ones_own_is_taken_where_it_is_named(authority):
    port = free_port()
    with (
        mosquitto(port, *secured(authority, authority.issue("localhost"))),
        sink_to(port, ca=authority.certificate) as sink,
    ):
        sink.write(*taken(0, face("happy")))
        eventually(lambda: sink.sent == 1)


def test_the_brokers_own_certificate_may_be_named_in_place_of_its_authoritys(authority):
    port, server = free_port(), authority.issue("localhost")
    with mosquitto(port, *secured(authority, server)), sink_to(port, ca=server[0]) as sink:
        connected(sink)


def test_a_certificate_nobody_here_knows_is_refused_with_the_setting_to_use(authority, caplog):
    port = free_port()
    with mosquitto(port, *secured(authority, authority.issue("localhost"))), sink_to(port) as sink:
        said = the_warning(caplog)
        sink.write(*taken(0, face("happy")))
    assert "the broker's certificate is refused" in said and "ca_file" in said and "no broker" not in said
    assert (sink.sent, sink.lost) == (0, 1), "nothing is sent to a broker that is not known to be the right one"


def test_another_authority_does_not_do(authority, caplog, tmp_path):
    port, other = free_port(), Authority(tmp_path, "other")
    with mosquitto(port, *secured(authority, authority.issue("localhost"))), sink_to(port, ca=other.certificate):
        assert "the broker's certificate is refused" in the_warning(caplog)


def test_a_certificate_of_another_name_is_refused_with_the_remedy(authority, caplog):
    port, server = free_port(), authority.issue("elsewhere", names="DNS:elsewhere.example")
    with mosquitto(port, *secured(authority, server)), sink_to(port, ca=authority.certificate):
        said = the_warning(caplog)
    assert "certificate is refused" in said and "in place of localhost" in said


@pytest.mark.parametrize(
    ("name", "dates", "remedy"),
    [
        ("old", ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"), "Renew it"),
        ("early", ("-startdate", "20900101000000Z", "-enddate", "20910101000000Z"), "clock right"),
    ],
)
def test_a_certificate_out_of_its_time_is_refused_with_the_remedy(authority, caplog, name, dates, remedy):
    port, server = free_port(), authority.issue(name, dates=dates)
    with mosquitto(port, *secured(authority, server)), sink_to(port, ca=authority.certificate):
        said = the_warning(caplog)
    assert "certificate is refused" in said and remedy in said


def test_a_broker_that_asks_for_a_certificate_is_shown_one(authority, caplog):
    port, (certificate, key) = free_port(), authority.issue("client", names="DNS:client")
    lines = secured(authority, authority.issue("localhost"), "require_certificate true", "allow_anonymous true")
    with mosquitto(port, *lines):
        with sink_to(port, ca=authority.certificate, certificate=certificate, key=key) as sink:
            connected(sink)
        assert not warnings(caplog)
        with sink_to(port, ca=authority.certificate):
            assert "certificate" in the_warning(caplog) and "cert_file" in the_warning(caplog)


def test_a_key_may_stand_in_the_file_of_its_certificate(authority, tmp_path):
    certificate, key = authority.issue("both", names="DNS:both")
    both = tmp_path / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    assert broker_at("mqtts://broker", TlsFiles(certificate=both)).tls is not None


def test_the_files_may_be_systemds_credentials(authority, tmp_path, monkeypatch):
    certificate, key = authority.issue("credential", names="DNS:credential")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(certificate.parent))
    settings = MqttSettings(ca_file=Path("ca.crt"), cert_file=Path(certificate.name), key_file=Path(key.name))
    assert tls_files(settings) == TlsFiles(authority.certificate, certificate, key)


def test_files_that_are_none_are_refused_and_named(authority, tmp_path):
    certificate, key = authority.issue("own", names="DNS:own")
    locked = authority.issue("locked", names="DNS:locked", passphrase="hunter2")[1]
    _, other_key = authority.issue("other", names="DNS:other")
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(b"\0\xff not PEM")
    for files, message in (
        (TlsFiles(ca=tmp_path / "absent"), r"ca_file = '.*absent': no such file"),
        (TlsFiles(ca=tmp_path), "ca_file = .*: no such file"),
        (TlsFiles(ca=wrong), r"ca_file = '.*wrong\.pem': holds no certificate in PEM form"),
        (TlsFiles(ca=key), "ca_file = .*: holds no certificate"),
        (TlsFiles(certificate=wrong), "cert_file = .*: expected a certificate and its key"),
        (TlsFiles(certificate=certificate), "cert_file = .*: expected a certificate and its key"),
        (TlsFiles(certificate=certificate, key=other_key), "cert_file = .*, key_file = .*: expected a certificate"),
        (TlsFiles(certificate=certificate, key=tmp_path / "absent"), r"key_file = '.*absent': no such file"),
        (TlsFiles(certificate=certificate, key=locked), "the key has a passphrase"),
        (TlsFiles(key=key), "key_file needs cert_file"),
    ):
        with pytest.raises(UsageError, match=message):
            broker_at("mqtts://broker", files)
    with pytest.raises(UsageError, match="are for mqtts://"):
        broker_at("mqtt://broker", TlsFiles(ca=authority.certificate))


def test_a_port_without_tls_and_one_with_it_are_told_apart(authority, caplog):
    port = free_port()
    with mosquitto(port), sink_to(port):
        assert "TLS" in the_warning(caplog) and "Use mqtt://" in the_warning(caplog)
    caplog.clear()
    with mosquitto(port, *secured(authority, authority.issue("localhost"))), sink_to(port, scheme="mqtt"):
        assert "mqtts://" in the_warning(caplog)


def test_a_broker_that_refuses_is_told_of_once_and_not_in_pairs(caplog, monkeypatch):
    monkeypatch.setattr(outbox, "_FIRST_WAIT_S", 0.05)
    port, tries = free_port(), []
    monkeypatch.setattr(outbox, "new_client", lambda *rest: tries.append(1) or new_client(*rest))
    with mosquitto(port, "allow_anonymous false"), sink_to(port, scheme="mqtt"):
        eventually(lambda: len(tries) >= 5)
    assert [text.partition(": ")[2] for text in warnings(caplog)] == [
        "the broker refuses the connection: user or password is wrong, or this user may not connect. Check both; "
        "trying again."
    ]


new_client = outbox.new_client


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mqtt://127.0.0.1:{port}", "no broker listens at 127.0.0.1 port {port}. Is it running?"),
        ("mqtt://no-such-host.invalid", "no host no-such-host.invalid is known here"),
    ],
)
def test_a_broker_that_is_not_there_is_told_of_with_the_remedy(address, said, caplog):
    port = free_port()
    with MqttSink(address.format(port=port), "door", vitals):
        assert said.format(port=port) in the_warning(caplog)


def test_a_broker_that_comes_back_is_told_of(caplog, monkeypatch):
    monkeypatch.setattr(outbox, "_LASTING_S", 0.2)
    monkeypatch.setattr(outbox, "_FIRST_WAIT_S", 0.2)
    port = free_port()
    with sink_to(port, scheme="mqtt", host="127.0.0.1") as sink:
        the_warning(caplog)
        with mosquitto(port):
            connected(sink)
            eventually(lambda: warnings(caplog)[-1].endswith("connected again."))
            assert len(warnings(caplog)) == 2


def test_a_broker_that_hangs_up_at_once_is_not_asked_ever_faster(caplog, monkeypatch):
    """The wait grows although every connection is welcomed, and the log has one line."""
    monkeypatch.setattr(outbox, "_FIRST_WAIT_S", 0.02)
    waits = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def welcome_and_hang_up():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x20\x02\x00\x00")
                waits.append(sink._outbox._wait_s)

        broker = threading.Thread(target=welcome_and_hang_up)
        with sink_to(server.getsockname()[1], scheme="mqtt", host="127.0.0.1") as sink:
            broker.start()
            eventually(lambda: len(waits) >= 5)
        server.shutdown(socket.SHUT_RDWR)
    broker.join(10)
    assert waits[:5] == sorted(waits[:5]) and waits[4] >= 8 * waits[0]
    assert len([text for text in warnings(caplog) if "connection lost" in text]) == 1
    assert not [text for text in warnings(caplog) if "connected again" in text]


def test_nothing_of_a_password_is_in_what_a_refusing_broker_leads_to(caplog, capfd, mediapipe_file, tmp_path):
    port = free_port()
    clip = "media/WolfgangLanger_Pexels.mp4"
    with mosquitto(port, "allow_anonymous false"):
        words = ["--source", clip, "--max-frames", "5", "--mqtt", f"mqtt://me:S3cr3t@127.0.0.1:{port}"]
        main([*words, "--jsonl", str(tmp_path / "x.jsonl")])
    out, err = capfd.readouterr()
    assert "refuses" in caplog.text
    assert "S3cr3t" not in out + err + caplog.text + (tmp_path / "x.jsonl").read_text()
