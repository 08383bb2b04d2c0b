"""The connections of a web server: how long each may take, and how many fit.

Connections cost file descriptors, which the camera, the files and the watchdog need as well, and nobody has shown a
token when one is made. So whoever has shown nothing yet has a short wait and a share for each address, and where all
places are taken, the oldest of the address with the most makes room: the next one may have the token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from contextlib import suppress
from typing import Any

from fer_edge.serving.listening import is_loopback

HEAD_S = 2.0
ANSWERED_S = 10.0
# How long a viewer may take nothing, and how long sent bytes may go without an answer from the viewer's machine.
STALLED_S = 20.0
# Connections that have shown nothing yet: of one address, and of all.
SHARE = 8
MAX_PENDING = 128
# One that is beyond the share of its address is given this long to show something.
GRACE_S = 0.25
_LINGER_S = 0.5
_LAST_CHANCE_S = 0.05


class Connection:
    """A client, with what microdot asks of a writer. Its task is cancelled at its deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self.reader, self._writer = task, reader, writer
        self._deadline: asyncio.TimerHandle | None = None
        peer = writer.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self.share = share_of(self.client)
        self.is_hurried = False
        self.stream: str | None = None
        """The path of a stream without an end that it became."""
        self.get_extra_info = writer.get_extra_info
        self.allow(HEAD_S)

    def allow(self, seconds: float) -> None:
        """Cut it off unless it ends, or is allowed more, within so many seconds."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._give_last_chance)

    def _give_last_chance(self) -> None:
        """On a busy board the server itself may be late: what has come meanwhile is looked at first."""
        self._deadline = asyncio.get_running_loop().call_later(_LAST_CHANCE_S, self._task.cancel)

    def hurry(self) -> None:
        """Its address holds more than its share: it must show something at once."""
        self.is_hurried = True
        self.allow(GRACE_S)

    def become_stream(self, path: str) -> None:
        """From here on it has no end, but must go on taking what it is sent."""
        self.stream = path
        with suppress(OSError, AttributeError):
            timeout_ms = int(STALLED_S * 1000)
            self.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)

    async def awrite(self, data: bytes) -> None:
        """Send, and wait while the client takes nothing."""
        self.allow(STALLED_S if self.stream else ANSWERED_S)
        self._writer.write(data)
        await self._writer.drain()
        if self.stream and self._deadline is not None:
            self._deadline.cancel()

    async def aclose(self) -> None:
        """Say that no more comes."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def linger(self) -> None:
        """Take what the client still sends for a moment: closed before, its machine would throw the answer away."""
        with suppress(asyncio.TimeoutError, OSError, ValueError):
            await asyncio.wait_for(self._take_all(), _LINGER_S)

    async def _take_all(self) -> None:
        while await self.reader.read(4096):
            pass

    def cut_off(self) -> None:
        """End it now."""
        self._task.cancel()
        self.end()

    def end(self) -> None:
        """Let go of the socket, whatever the client has not taken by now."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._writer.transport.abort()


class Connections:
    """All of them; `max_viewers` may watch each stream at a time."""

    def __init__(self, max_viewers: int) -> None:
        self.max_viewers = max_viewers
        # In the order they came. Who has shown that he may come in is pending no more.
        self._pending: dict[Connection, None] = {}
        self._admitted: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """A new one; another may have to make room for it."""
        self._pending[connection] = None
        own = [other for other in self._pending if other.share == connection.share]
        if len(own) > SHARE:
            next((other for other in own if not other.is_hurried), connection).hurry()
        if len(self._pending) > MAX_PENDING:
            greediest = Counter(other.share for other in self._pending).most_common(1)[0][0]
            oldest = next(other for other in self._pending if other.share == greediest)
            self.remove(oldest)
            oldest.cut_off()

    def admit(self, connection: Connection) -> None:
        """It has shown that it may come in."""
        if self._pending.pop(connection, self) is None:
            self._admitted.add(connection)
        connection.allow(ANSWERED_S)

    def remove(self, connection: Connection) -> None:
        """It ended."""
        self._pending.pop(connection, None)
        self._admitted.discard(connection)

    def no_room(self, connection: Connection, path: str) -> str | None:
        """Why one more viewer of the stream `path` does not fit; None where it does."""
        viewers = [other for other in self._admitted if other.stream == path]
        if len(viewers) >= self.max_viewers:
            return f"{len(viewers)} viewers are watching, and no more fit ([web] max_viewers). Try again later.\n"
        # Who comes through a tunnel or a proxy has this machine's own address.
        share = max(self.max_viewers // 2, 1)
        own = sum(other.share == connection.share for other in viewers)
        if own >= share and not is_loopback(connection.client):
            return f"{own} viewers at your address are watching, and no more of them fit. Close another page.\n"
        return None


def share_of(client: str) -> str:
    """Key by which clients are counted: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address: Any = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
