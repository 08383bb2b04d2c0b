"""A small web server (microdot) in a thread of its own; the loop never waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge.errors import UsageError
from fer_edge.serving.access import COOKIE, Access
from fer_edge.serving.address import ListenAddress

logger = logging.getLogger("fer_edge")

if TYPE_CHECKING:
    from microdot import Microdot, Request, Response

_START_S = 5.0
_JOIN_S = 1.0
_FAREWELL_S = 0.4
_YEAR_S = 31_536_000
# Connections cost file descriptors, which the camera, the files and the watchdog need as well, and nobody has shown a
# token when one is made. A page with its two streams is one viewer.
_MAX_CONNECTIONS = 32
_MAX_STREAMS = 16
_ANSWERED_S = 10.0
# asyncio takes as many connections in one go before it looks at any of them.
_BACKLOG = 16
# Nothing from elsewhere is loaded, nobody may frame the page, nothing is kept in a cache.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """Serves what `add_routes` adds to a Microdot app, to whom `access` allows. Enter it to listen.

    A request that has not come and been answered within 10 s is cut off, unless it became a `stream`. Connections and
    streams are bounded; one too many is closed.
    Entering raises UsageError where microdot is missing or the address is taken.
    """

    def __init__(self, address: ListenAddress, access: Access, add_routes: Callable[[Microdot], None]) -> None:
        self._address, self.access, self._add_routes = address, access, add_routes
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[_Connection] = set()
        self.port = address.port
        self.ending = False
        """Streams must end."""

    @property
    def url(self) -> str:
        """Where to look, with the token where one is needed."""
        path = "/" if self.access.token is None else f"/?token={self.access.token}"
        return self._address.url(self.port, path)

    def __enter__(self) -> Server:
        """Listen. Raises UsageError."""
        app = self._app()
        self._thread = threading.Thread(target=self._run, args=(app,), name="web server", daemon=True)
        self._thread.start()
        self._ready.wait(_START_S)
        if self._failure is not None:
            where = self._address.url(self._address.port)
            raise UsageError(
                f"cannot listen on {where}: {self._failure.strerror or self._failure}. Choose another port."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every connection and join the thread."""
        self.ending = True
        if self._loop is not None and self._ended is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def stream(self, request: Request, body: AsyncIterator[bytes], content_type: str) -> Any:
        """Answer `request` for as long as `body` goes on and the viewer stays; refuse one viewer too many."""
        if sum(connection.is_stream for connection in self._connections) >= _MAX_STREAMS:
            return "Too many viewers.\n", 503
        connection: Any = request.sock[1]  # the _Connection it came by
        connection.become_stream()
        return body, 200, {"Content-Type": content_type}

    def _app(self) -> Microdot:
        try:
            from microdot import Microdot
        except ImportError:
            raise UsageError('the web page needs microdot. Install it: pip install "fer-edge[web]"') from None
        app = Microdot()
        app.before_request(self._admit)
        app.after_request(_harden)
        self._add_routes(app)
        return app

    def _run(self, app: Microdot) -> None:
        asyncio.run(self._serve(app))

    async def _serve(self, app: Microdot) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_note)
        try:
            where = (self._address.host, self._address.port)
            # Microdot's own start_server knows neither a backlog nor a bound.
            listener = await asyncio.start_server(partial(self._attend, app), *where, backlog=_BACKLOG)
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        listener.close()
        # Streams end by themselves when they see `ending`; asyncio.run() cancels one whose viewer takes nothing more.
        streams = asyncio.all_tasks() - {asyncio.current_task()}
        if streams:
            await asyncio.wait(streams, timeout=_FAREWELL_S)

    async def _attend(self, app: Microdot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            writer.transport.abort()
            return
        connection = _Connection(writer)
        self._connections.add(connection)
        try:
            await app.handle_request(reader, connection)  # type: ignore[arg-type]  # it asks for three methods only
        finally:
            self._connections.remove(connection)
            connection.end()

    async def _admit(self, request: Request) -> Any:
        """None lets the request through. A token in the address moves into a cookie, out of sight."""
        query = str(request.args.get("token", ""))
        bearer = str(request.headers.get("Authorization", "")).removeprefix("Bearer ")
        cookie = str(request.cookies.get(COOKIE, ""))
        host = str(request.headers.get("Host", ""))
        if not self.access.allows(host=host, bearer=bearer, cookie=cookie, query=query):
            return "This address needs its token: open the link that fer-edge printed when it started.\n", 401
        if query and self.access.token is not None and request.path == "/":
            from microdot import Response

            kept = f"{COOKIE}={self.access.token}; Path=/; Max-Age={_YEAR_S}; HttpOnly; SameSite=Lax"
            return Response("", 302, {"Location": "/", "Set-Cookie": kept})
        return None


class _Connection:
    """A client, with what microdot asks of a writer. Its task is cancelled at the deadline, unless it is a stream."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._writer = writer
        self._deadline = asyncio.get_running_loop().call_later(_ANSWERED_S, task.cancel)
        self.is_stream = False
        self.get_extra_info = writer.get_extra_info

    def become_stream(self) -> None:
        self._deadline.cancel()
        self.is_stream = True

    async def awrite(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def end(self) -> None:
        """Let go of the socket, whatever the client has not taken by now."""
        self._deadline.cancel()
        self._writer.transport.abort()


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A viewer that left in the middle of a picture is no news."""
    logger.debug("web server: %s", context.get("exception") or context.get("message"))


async def _harden(request: Request, response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
