"""An MQTT broker: where it is, how to connect to it, and what its refusals mean. Needs the extra `mqtt` (paho-mqtt)."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fer_edge.credentials import locate
from fer_edge.errors import UsageError
from fer_edge.redaction import quoted, redacted, scrubbed

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

    from fer_edge.settings import MqttSettings

CONNECT_S = 3.0
KEEPALIVE_S = 30
_LISTEN_S = 0.1
_PATIENCE_S = 10.0
_PORTS = {"mqtt": 1883, "mqtts": 8883}
# X509_V_ERR_... of openssl/x509_vfy.h: an issuer that is not trusted, a certificate out of its time, of other names.
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 24, 26, 27)
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = (62, 63, 64)
# CONNACK, MQTT 3.1.1 section 3.2.2.3, by the names paho gives them.
_REFUSALS = {
    "Bad user name or password": "user or password is wrong",
    "Not authorized": "user or password is wrong, or this user may not connect",
    "Client identifier not valid": "it does not take this client's identifier",
    "Unsupported protocol version": "it does not speak MQTT 3.1.1",
    "Server unavailable": "it is not ready",
}


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: whom to trust in place of the system's authorities, and this client's own certificate with its key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def tls_files(settings: MqttSettings) -> TlsFiles:
    """The files the settings name; relative names may be systemd's credentials."""
    names = (settings.ca_file, settings.cert_file, settings.key_file)
    return TlsFiles(*(None if name is None else locate(name) for name in names))


@dataclass(frozen=True)
class Broker:
    """Where a broker is. `tls` is None for a connection without encryption; `shown` is the address without secrets."""

    address: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    user: str | None
    password: str | None
    shown: str


def broker_at(address: str, files: TlsFiles = TlsFiles()) -> Broker:
    """Parse `mqtt://[USER:PASSWORD@]HOST[:PORT]` or `mqtts://...` and load the files for TLS.

    Raises UsageError, which shows no secret.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if parts.hostname else ""
    except ValueError:  # what UnicodeError is, too
        parts, port, host = urlsplit(""), None, ""
    if parts.scheme not in _PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"--mqtt {quoted(address)}: expected mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.")
    encrypted = parts.scheme == "mqtts"
    if not encrypted and files != TlsFiles():
        raise UsageError(f"--mqtt {quoted(address)}: ca_file, cert_file and key_file are for mqtts:// (TLS).")
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    tls = _context(files) if encrypted else None
    return Broker(address, host, port or _PORTS[parts.scheme], tls, user, password, redacted(address))


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context() if files.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca is not None:
        # An authority made at home often lacks extensions that Python 3.13 insists on, and what is named may be the
        # broker's own certificate. Both are trusted because the user names them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _check(files.ca, "ca_file")
        try:
            context.load_verify_locations(cafile=files.ca)
        except (ssl.SSLError, ValueError):
            raise UsageError(f"[mqtt] ca_file = {quoted(str(files.ca))}: holds no certificate in PEM form.") from None
    if files.key is not None and files.certificate is None:
        raise UsageError("[mqtt] key_file needs cert_file, the certificate of that key.")
    if files.certificate is not None:
        _load_own(context, files.certificate, files.key)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    _check(certificate, "cert_file")
    if key is not None:
        _check(key, "key_file")

    def refuse() -> str:
        raise UsageError(
            "[mqtt] key_file: the key has a passphrase, which nobody can type here. Take the passphrase off."
        )

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except (ssl.SSLError, ValueError):
        where = f"cert_file = {quoted(str(certificate))}" + ("" if key is None else f", key_file = {quoted(str(key))}")
        raise UsageError(f"[mqtt] {where}: expected a certificate and its key in PEM form.") from None


def _check(path: Path, name: str) -> None:
    """Raise UsageError where a file of certificates or keys cannot be read; OpenSSL would not say which."""
    try:
        if not path.is_file():
            raise UsageError(f"[mqtt] {name} = {quoted(str(path))}: no such file.")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"[mqtt] {name} = {quoted(str(path))}: cannot be read ({reason}).") from None


def new_client(broker: Broker, client_id: str) -> Client:
    """A client that is not connected yet. Raises UsageError without paho-mqtt."""
    try:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise UsageError('--mqtt needs paho-mqtt. Install it: pip install "fer-edge[mqtt]"') from None
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv311, reconnect_on_failure=False)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)
    client.connect_timeout = CONNECT_S
    return client


class Session:
    """A connection for one errand; entering connects. Raises UsageError where that, or what is waited for, fails."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._trouble: str | None = None
        self.client = new_client(broker, f"feredge{secrets.token_hex(8)}")
        self.client.on_connect = self._on_connect

    def __enter__(self) -> Session:
        """Connect, and wait for the broker's welcome."""
        try:
            self.client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except Exception as error:  # whatever a network library raises
            raise self._error(failure(error, self._broker)) from None
        self.wait_until(self.client.is_connected, unanswered(self._broker))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.client.disconnect()

    def wait_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Talk to the broker until `is_so`; `otherwise` is the trouble where it does not come about."""
        end_s = time.monotonic() + _PATIENCE_S
        while not is_so():
            try:
                ended = self.client.loop(_LISTEN_S) != 0
            except Exception as error:  # whatever packets that are none make a network library raise
                raise self._error(failure(error, self._broker)) from None
            if self._trouble is not None:
                raise self._error(self._trouble)
            if ended or time.monotonic() > end_s:
                raise self._error(otherwise)

    def certificate_ends_at_s(self) -> float | None:
        """When the broker's certificate expires, as time.time() counts; None without TLS."""
        line = self.client.socket()
        found = line.getpeercert() if isinstance(line, ssl.SSLSocket) else None
        return ssl.cert_time_to_seconds(str(found["notAfter"])) if found else None

    def _error(self, reason: str) -> UsageError:
        return UsageError(f"mqtt {self._broker.shown}: {reason}{'' if reason.endswith('?') else '.'}")

    def _on_connect(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._trouble = refusal(reason)


def topic_of(message: MQTTMessage) -> str:
    """The topic of a message, empty where it is not UTF-8: that is none of ours."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return ""


def refusal(reason: object) -> str:
    """Explain a CONNACK with a failure, and the remedy, in one sentence without its end."""
    meaning = _REFUSALS.get(str(reason), str(reason).lower())
    remedy = ". Check both" if "password" in meaning else ""
    return f"the broker refuses the connection: {meaning}{remedy}"


def unanswered(broker: Broker) -> str:
    """Why a broker may have closed a connection before it said anything."""
    likely = (
        "does it ask for a client certificate ([mqtt] cert_file, key_file)"
        if broker.tls
        else "is this its port for TLS (mqtts://)"
    )
    return f"the broker closed the connection without an answer; {likely}?"


def failure(error: Exception, broker: Broker) -> str:
    """Why no connection came about and what to do, in one sentence without its end."""
    place = f"{broker.host} port {broker.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_failure(error, broker)
    if isinstance(error, ssl.SSLError):
        return _tls_failure(error, place)
    if broker.tls is not None and isinstance(error, ConnectionResetError):
        return f"{place} hung up where TLS begins. Use mqtt://, or the port for TLS, which often is 8883"
    if isinstance(error, socket.gaierror):
        return f"no host {broker.host} is known here ({error.strerror}). Check name and network"
    if isinstance(error, ConnectionRefusedError):
        return f"no broker listens at {place}. Is it running?"
    if isinstance(error, TimeoutError):
        return f"no answer from {place} within {CONNECT_S:g} s. Check address, network and firewall"
    reason = " ".join(scrubbed(getattr(error, "strerror", None) or str(error), broker.address).split())
    return f"no connection to {place} ({reason or type(error).__name__})"


def _certificate_failure(error: ssl.SSLCertVerificationError, broker: Broker) -> str:
    code, text = error.verify_code, error.verify_message.rstrip(".")
    if code in _UNKNOWN_ISSUER:
        remedy = "Name the certificate of the authority that signed it: [mqtt] ca_file (--mqtt-ca-file)"
    elif code in _OTHER_NAME:
        remedy = f"Write one of the names in the certificate into the address in place of {broker.host}"
    elif code == _NOT_YET_VALID:
        remedy = "Is this board's clock right (`timedatectl`)?"
    elif code == _EXPIRED:
        remedy = "Renew it, or is this board's clock wrong (`timedatectl`)?"
    else:
        remedy = "Check it with `openssl s_client`"
    return f"the broker's certificate is refused: {text}. {remedy}"


def _tls_failure(error: ssl.SSLError, place: str) -> str:
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if re.search(r"wrong version number|http request|record layer|unexpected eof|packet length", reason):
        return f"{place} does not speak TLS ({reason}). Use mqtt://, or the port for TLS, which often is 8883"
    if ("certificate" in reason and "alert" in reason) or "handshake failure" in reason:
        return f"the broker refuses this client's certificate, or wants one ({reason}): [mqtt] cert_file, key_file"
    return f"TLS with {place} failed ({reason})"
