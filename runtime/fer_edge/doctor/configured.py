"""Check a configuration file: is it valid, who may read its secrets, can its addresses be opened?"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from fer_edge.broker import Session, broker_at, tls_files
from fer_edge.credentials import EXPOSED, closing
from fer_edge.doctor.finding import Finding, State
from fer_edge.errors import FerEdgeError
from fer_edge.options import load
from fer_edge.redaction import redacted
from fer_edge.serving.access import access_for
from fer_edge.serving.listening import listen_address
from fer_edge.settings import MqttSettings, Settings

_SOON_S = 14 * 86_400


def check_configuration(config: Path) -> Iterator[Finding]:
    """Findings about a configuration file and what it leads to."""
    try:
        loaded = load(argparse.Namespace(config=config))
    except FerEdgeError as error:
        yield Finding("configuration", State.BAD, str(error))
        return
    yield Finding("configuration", State.OK, redacted(str(config)))
    for path in loaded.exposed:
        yield Finding("secrets", State.WARN, f"{path} {EXPOSED}", closing(path))
    web, metrics = loaded.settings.web, loaded.settings.metrics
    for flag, address in (("--web", web.address), ("--metrics", metrics.address)):
        if address is not None:
            yield check_listening(flag, address, web.token)
    if loaded.settings.mqtt.address is not None:
        yield from check_broker(loaded.settings.mqtt)


def settings_in_use(config: Path | None) -> Settings:
    """The settings fer-edge would run with; the defaults where the file is wrong, which is a finding of its own."""
    try:
        return load(argparse.Namespace(config=config)).settings
    except FerEdgeError:
        return Settings()


def check_listening(flag: str, address: str, token: str | None) -> Finding:
    """May a server be had here? Where fer-edge runs already it has the port itself, so that is no fault."""
    subject = flag.removeprefix("--")
    try:
        where = listen_address(address, flag)
        access_for(where, token)
    except FerEdgeError as error:
        return Finding(subject, State.BAD, str(error))
    try:
        for one in where.listen():
            one.close()
    except FerEdgeError as error:
        return Finding(subject, State.WARN, str(error), "nothing, where it is fer-edge itself that has it")
    reach = "this machine only" if where.is_loopback else "the network, with a token"
    return Finding(subject, State.OK, f"{where.url(where.port)} ({reach})")


def check_broker(settings: MqttSettings) -> Iterator[Finding]:
    """Does the broker answer, is its certificate in order, does it let us in?"""
    assert settings.address is not None
    try:
        broker = broker_at(settings.address, tls_files(settings))
        with Session(broker) as session:
            ends_at_s = session.certificate_ends_at_s()
    except FerEdgeError as error:
        yield Finding("mqtt", State.BAD, str(error))
        return
    yield Finding("mqtt", State.OK, f"{broker.shown} answers")
    if ends_at_s is not None and ends_at_s - time.time() < _SOON_S:
        days = max(int((ends_at_s - time.time()) / 86_400), 0)
        text = f"the broker's certificate expires in {days} days"
        yield Finding("mqtt certificate", State.WARN, text, "renew it; afterwards nothing is sent to this broker")
