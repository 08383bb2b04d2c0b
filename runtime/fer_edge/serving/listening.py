"""Where to listen: `8000` is this machine only, `0.0.0.0:8000` the whole network."""

import contextlib
import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from fer_edge.errors import UsageError
from fer_edge.redaction import quoted

LOOPBACK = "127.0.0.1"
# Connections the kernel keeps until the server takes them.
BACKLOG = 128
_REMEDIES = {
    errno.EADDRINUSE: "Choose another port, or end the program that has it (`ss -ltnp`).",
    errno.EADDRNOTAVAIL: "Choose an address of this machine (`ip address`).",
    errno.EACCES: "Choose a port above 1023.",
}


@dataclass(frozen=True)
class ListenAddress:
    """A host as it was written, its addresses, and a port; port 0 takes a free one. `flag` asked for it."""

    flag: str
    host: str
    port: int
    places: tuple[tuple[int, Any], ...]

    @property
    def is_loopback(self) -> bool:
        """Can nothing but this machine reach it?"""
        return all(is_loopback(place[0]) for _, place in self.places)

    def url(self, port: int, path: str = "/") -> str:
        """The address for a browser, with the port it really listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{path}"

    def listen(self) -> list[socket.socket]:
        """Sockets that listen, one for each address the host has. Raises UsageError."""
        with contextlib.ExitStack() as opened:
            sockets: list[socket.socket] = []
            failed: OSError | None = None
            for family, place in self.places:
                port = sockets[0].getsockname()[1] if sockets else self.port
                try:
                    sockets.append(opened.enter_context(_listening(family, (place[0], port, *place[2:]))))
                except OSError as error:
                    # `localhost` has an IPv6 address where IPv6 is switched off, too.
                    if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        raise self._refusal(error) from None
                    failed = error
            if not sockets:
                raise self._refusal(failed or OSError("no address"))
            opened.pop_all()
        return sockets

    def _refusal(self, error: OSError) -> UsageError:
        remedy = _REMEDIES.get(error.errno or 0, "Choose another address.")
        return UsageError(f"{self.flag}: cannot listen on {self.url(self.port)} ({error.strerror or error}). {remedy}")


def _listening(family: int, place: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def listen_address(text: str, flag: str) -> ListenAddress:
    """Parse `PORT` or `HOST:PORT`, an IPv6 host in brackets, and look the host up. Raises UsageError naming `flag`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else LOOPBACK
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not host or not is_port or (":" in host and "[" not in text):
        raise UsageError(f"{flag} {quoted(text)}: expected a port such as 8000, or HOST:PORT such as 0.0.0.0:8000.")
    return ListenAddress(flag, host, int(port), _looked_up(host, int(port), flag))


def _looked_up(host: str, port: int, flag: str) -> tuple[tuple[int, Any], ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # ValueError: a NUL, an empty label, one of more than 63 letters
        reason = getattr(error, "strerror", None) or "not a host name"
        what = f"{flag}: the host {quoted(host)} cannot be found ({reason})"
        raise UsageError(f"{what}. Name an address of this machine, such as 127.0.0.1 or 0.0.0.0.") from None
    return tuple(dict.fromkeys((int(family), place) for family, _, _, _, place in found))


def is_loopback(text: str) -> bool:
    """Is this the IP address of a loopback interface? Also of IPv4 in IPv6's clothes."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
