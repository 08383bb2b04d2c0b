"""Where to listen: `8000` is this machine only, `0.0.0.0:8000` the whole network."""

import ipaddress
from dataclasses import dataclass

from fer_edge.errors import UsageError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ListenAddress:
    """Host and port. Port 0 takes a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Can nothing but this machine reach it?"""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def url(self, port: int, path: str = "/") -> str:
        """The address for a browser, with the port it really listens on."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{port}{path}"


def listen_address(text: str, flag: str) -> ListenAddress:
    """Parse `PORT` or `HOST:PORT`, an IPv6 host in brackets. Raises UsageError naming `flag`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else LOOPBACK
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and "[" not in text):
        raise UsageError(f"{flag} {text!r}: expected a port such as 8000, or HOST:PORT such as 0.0.0.0:8000.")
    return ListenAddress(host, int(port))
