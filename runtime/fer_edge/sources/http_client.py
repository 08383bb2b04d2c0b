"""GET requests to a camera: authentication, redirects on its own host, nothing that takes time or memory without end.

Python's http.client bounds the length of lines and the number of headers; bodies are read piece by piece by who asked.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import parse_http_list, parse_keqv_list

from fer_edge import __version__
from fer_edge.errors import SourceAbsentError, SourceError

_MOST_REDIRECTS = 5
# Once for the challenge; once more where a nonce was too old.
_MOST_CHALLENGES = 2
_URL_CHARACTERS = "%/:=&?~+!$,;'@()*[]"
_HASHES: dict[str, Callable[..., Any]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_REASONS = {
    401: "user and password are refused",
    403: "access is refused",
    404: "there is nothing at this path",
    410: "there is nothing at this path any more",
}


@dataclass(frozen=True)
class Answer:
    """Response of a camera with status 200. `read(n)` gives up to n bytes of the body, empty at its end.

    `length_bytes` is what the head says of the body's length, None where it says nothing; `address` is where redirects
    led, user and password included. `boundary` separates the parts of a multipart body, as the head says.
    """

    content_type: str
    boundary: str
    length_bytes: int | None
    address: str
    read: Callable[[int], bytes]


class HttpClient:
    """Asks one camera. `name` is what it is called in errors; with `other_hosts` redirects to other hosts are followed.

    `interrupt` may be called from another thread: what is being read ends at once.
    """

    def __init__(self, address: str, name: str, *, other_hosts: bool = False) -> None:
        self._address, self._name, self._other_hosts = address, name, other_hosts
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._socket: socket.socket | None = None
        self.interrupted = threading.Event()

    def get(self, connect_timeout_s: float, read_timeout_s: float) -> Answer:
        """Ask, and read the head of the answer. A body that was not read to its end before is given up.

        Raises SourceAbsentError where nobody answers or the camera is busy, SourceError where it refuses.
        """
        address, challenges = self._address, 0
        authorization: Callable[[SplitResult], str] | None = None
        for _ in range(_MOST_REDIRECTS + _MOST_CHALLENGES):
            parts = urlsplit(address)
            response = self._ask(parts, authorization(parts) if authorization else None, connect_timeout_s)
            if response.status in (301, 302, 303, 307, 308):
                address = self._redirected(parts, response.headers.get("Location", ""))
                continue
            if response.status == 401 and challenges < _MOST_CHALLENGES and parts.username is not None:
                challenges += 1
                authorization = _authorization(response.headers.get_all("WWW-Authenticate", []))
                if authorization is not None:
                    continue
            return self._answer(response, address, read_timeout_s)
        raise SourceError(f"{self._name}: redirected again and again.")

    def interrupt(self) -> None:
        """Break off whatever the other thread does with this client; `reset` makes it usable again."""
        self.interrupted.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was closed already

    def close(self) -> None:
        """Give the connection up."""
        if self._response is not None:
            self._response.close()
        if self._connection is not None:
            self._connection.close()
        self._response = self._connection = self._socket = None

    def _ask(self, parts: SplitResult, authorization: str | None, timeout_s: float) -> http.client.HTTPResponse:
        self.close()
        try:
            host = unquote(parts.hostname or "")  # the zone of an IPv6 address is written behind %25
            if parts.scheme.lower() == "https":
                # Cameras sign their certificates themselves, so there is nothing to check them against.
                context = ssl._create_unverified_context()
                self._connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
            self._connection.connect()
            # The response keeps the descriptor where the connection forgets its socket.
            self._socket = self._connection.sock
            if self.interrupted.is_set():
                raise SourceError(f"{self._name}: closed.")
            headers: dict[str, str | bytes] = {"User-Agent": f"fer-edge/{__version__}", "Accept": "*/*"}
            headers["Connection"] = "close"
            if authorization is not None:
                headers["Authorization"] = authorization.encode()
            self._connection.request("GET", _target(parts), headers=headers)
            self._response = self._connection.getresponse()
            return self._response
        except OSError as error:
            place = f"{parts.hostname} port {parts.port or self._port(parts)}"
            raise SourceAbsentError(
                f"{self._name}: no answer from {place} ({error.strerror or error}). Check the address, the network and "
                "that the camera is on."
            ) from None
        except (http.client.HTTPException, ValueError) as error:
            # Without its text, which may hold a part of the address or of the password.
            raise SourceError(f"{self._name}: cannot be asked, or answers no HTTP ({type(error).__name__}).") from None

    @staticmethod
    def _port(parts: SplitResult) -> int:
        return 443 if parts.scheme.lower() == "https" else 80

    def _redirected(self, parts: SplitResult, location: str) -> str:
        """The address a redirect leads to, with the user of the one before. Raises SourceError for another host."""
        new = urlsplit(urljoin(urlunsplit(parts), location))
        if new.scheme.lower() not in ("http", "https") or not new.hostname:
            raise SourceError(f"{self._name}: redirected to what is no http:// or https:// address.")
        own_host = new.hostname.lower() == (parts.hostname or "").lower()
        if not own_host and not self._other_hosts:
            raise SourceError(
                f"{self._name}: redirected to another host, {new.hostname}. Give that address, or allow it with "
                "--other-hosts."
            )
        user = parts.netloc.rpartition("@")[0] if own_host else ""
        place = new.netloc.rpartition("@")[2]
        return urlunsplit(new._replace(netloc=f"{user}@{place}" if user else place))

    def _answer(self, response: http.client.HTTPResponse, address: str, read_timeout_s: float) -> Answer:
        if response.status != 200:
            reason = _REASONS.get(response.status, f"it answers {response.status}")
            error = SourceAbsentError if response.status >= 500 else SourceError
            raise error(f"{self._name}: {reason} (HTTP {response.status}). Check path, user and password.")
        if self._socket is not None:
            self._socket.settimeout(read_timeout_s)
        length = response.headers.get("Content-Length", "")
        return Answer(
            response.headers.get_content_type().lower() if "Content-Type" in response.headers else "",
            response.headers.get_boundary() or "",
            int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None,
            address,
            self._read,
        )

    def _read(self, count: int) -> bytes:
        assert self._response is not None
        try:
            return self._response.read1(count)
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SourceAbsentError(f"{self._name}: the connection broke off ({why}).") from None


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_URL_CHARACTERS)
    return f"{path}?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else path


def _authorization(challenges: list[str]) -> Callable[[SplitResult], str] | None:
    """How to answer a challenge (RFC 7616, 7617), the strongest of those offered; None where none is understood."""
    basic: Callable[[SplitResult], str] | None = None
    for challenge in challenges:
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme.lower() == "basic":
            basic = _basic
        elif scheme.lower() == "digest":
            fields = {key.lower(): value for key, value in parse_keqv_list(_pairs(rest)).items()}
            qops = {word.strip() for word in fields.get("qop", "auth").split(",")}
            if fields.get("algorithm", "MD5").upper().removesuffix("-SESS") in _HASHES and "auth" in qops:
                return lambda parts: _digest(parts, fields)
    return basic


def _pairs(text: str) -> list[str]:
    return [pair for pair in parse_http_list(text) if "=" in pair]


def _basic(parts: SplitResult) -> str:
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def _digest(parts: SplitResult, fields: dict[str, str]) -> str:
    algorithm = fields.get("algorithm", "MD5").upper()
    digest = _HASHES[algorithm.removesuffix("-SESS")]

    def hashed(*texts: str) -> str:
        return str(digest(":".join(texts).encode()).hexdigest())

    user, realm, nonce, target = (
        unquote(parts.username or ""),
        fields.get("realm", ""),
        fields.get("nonce", ""),
        _target(parts),
    )
    client_nonce, count = secrets.token_hex(8), "00000001"
    secret = hashed(user, realm, unquote(parts.password or ""))
    if algorithm.endswith("-SESS"):
        secret = hashed(secret, nonce, client_nonce)
    quoted_user, quoted_realm = (text.replace("\\", r"\\").replace('"', r"\"") for text in (user, realm))
    words = [f'username="{quoted_user}"', f'realm="{quoted_realm}"', f'nonce="{nonce}"', f'uri="{target}"']
    if "qop" in fields:
        answer = hashed(secret, nonce, count, client_nonce, "auth", hashed("GET", target))
        words += ["qop=auth", f"nc={count}", f'cnonce="{client_nonce}"']
    else:
        answer = hashed(secret, nonce, hashed("GET", target))
    words.append(f'response="{answer}"')
    words += [f"algorithm={fields['algorithm']}"] if "algorithm" in fields else []
    words += [f'opaque="{fields["opaque"]}"'] if "opaque" in fields else []
    return f"Digest {', '.join(words)}"
