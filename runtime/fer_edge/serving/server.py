"""A small web server (microdot) in a thread of its own; the loop never waits for it.

microdot parses requests, finds routes and writes responses. What it leaves to a proxy in front of it is done here:
bounds on time, size and number of connections, headers on every response, and a log that nobody can flood.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge.errors import UsageError
from fer_edge.serving.access import COOKIE, Access, Refusal, Visit
from fer_edge.serving.connections import Connection, Connections
from fer_edge.serving.listening import BACKLOG, ListenAddress

logger = logging.getLogger("fer_edge")

if TYPE_CHECKING:
    from socket import socket

    from microdot import Microdot, Request, Response

Handler = Callable[["Request"], Awaitable[Any]]

_START_S = 5.0
_JOIN_S = 1.0
_FAREWELL_S = 0.4
_YEAR_S = 31_536_000
# A request line and headers; browsers send about 1 kB.
_MAX_HEAD_BYTES = 16_384
DEFAULT_VIEWERS = 8
_RETRY_AFTER_S = 10
# asyncio takes so many connections before it looks at any of them again. Far fewer than may be pending, so that a
# request that is there already is read before a flood of newer ones pushes it out.
_TAKEN_AT_ONCE = 16
# Nothing from elsewhere is loaded, nobody may frame the page or show a part of it, nothing is kept in a cache.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server:
    """Serves `routes`, handlers by path, to whom `access` allows. Enter it to listen.

    A request must come within 2 s and be answered within 10 s, unless it became a `stream`; `max_viewers` may watch
    each stream. Entering raises UsageError where microdot is missing or the address cannot be listened on.
    """

    def __init__(
        self,
        address: ListenAddress,
        access: Access,
        routes: Mapping[str, Handler],
        *,
        max_viewers: int = DEFAULT_VIEWERS,
    ) -> None:
        self._address, self.access, self._routes = address, access, routes
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._connections = Connections(max_viewers)
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
        sockets = self._address.listen()
        self.port = sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(app, sockets), name="web server", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S) or self._failure is not None:
            reason = self._failure or "it does not start"
            raise UsageError(f"{self._address.flag}: no web server at {self._address.url(self.port)} ({reason}).")
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

    def try_port(self) -> None:
        """Raise UsageError where it could not listen now; keeps nothing open."""
        for one in self._address.listen():
            one.close()

    def stream(self, request: Request, body: AsyncIterator[bytes], content_type: str) -> Any:
        """Answer `request` for as long as `body` goes on and the viewer stays; refuse one viewer too many."""
        connection: Any = request.sock[1]  # the Connection it came by
        full = self._connections.no_room(connection, request.path)
        if full is not None:
            return full, 503, {"Retry-After": str(_RETRY_AFTER_S)}
        connection.become_stream(request.path)
        return body, 200, {"Content-Type": content_type}

    def _app(self) -> Microdot:
        try:
            from microdot import Microdot
        except ImportError:
            raise UsageError('the web page needs microdot. Install it: pip install "fer-edge[web]"') from None
        app = Microdot()
        for path, handler in self._routes.items():
            app.get(path)(_guarded(path, handler))
        return app

    def _run(self, app: Microdot, sockets: list[socket]) -> None:
        try:
            asyncio.run(self._serve(app, sockets))
        except BaseException as error:  # whoever waits for it must hear of it
            self._failure = error
            self._ready.set()
        finally:
            for one in sockets:
                one.close()

    async def _serve(self, app: Microdot, sockets: list[socket]) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_note)
        attend = partial(self._attend, app)
        options: dict[str, Any] = {"backlog": _TAKEN_AT_ONCE, "limit": _MAX_HEAD_BYTES}
        listeners = [await asyncio.start_server(attend, sock=one, **options) for one in sockets]
        for one in sockets:
            one.listen(BACKLOG)  # which asyncio has made as short as what it takes at once
        self._ready.set()
        await self._ended.wait()
        for listener in listeners:
            listener.close()
        # Streams end by themselves when they see `ending`; asyncio.run() cancels one whose viewer takes nothing more.
        streams = asyncio.all_tasks() - {asyncio.current_task()}
        if streams:
            await asyncio.wait(streams, timeout=_FAREWELL_S)

    async def _attend(self, app: Microdot, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self._connections.add(connection)
        try:
            response = await self._respond(app, connection)
            if response is not None:
                await _send(response, connection)
        except OSError as error:  # a viewer that left in the middle of a picture is no news
            logger.debug("web server: %s: %s", connection.client, error)
        finally:
            self._connections.remove(connection)
            connection.end()

    async def _respond(self, app: Microdot, connection: Connection) -> Response | None:
        """The response to the request that comes; None where none comes."""
        from microdot import Request, Response

        head: Any = _BoundedReader(connection.reader)
        try:
            request = await Request.create(app, head, connection, (connection.client, 0))  # type: ignore[arg-type]
        except OSError:
            raise
        except Exception as error:  # whatever microdot makes of bytes that are no request
            logger.debug("web server: %s: not a request: %.100r", connection.client, error)
            return Response("Not an HTTP request.\n", 400)
        if request is None:
            return Response("Not an HTTP request.\n", 400) if head.taken_bytes else None
        refusal, visit = self._refusal(request)
        if refusal is not None:
            challenge = {"WWW-Authenticate": 'Bearer realm="fer-edge"'} if refusal.status == 401 else {}
            return Response(refusal.text, refusal.status, challenge)
        self._connections.admit(connection)
        if visit.query and self.access.token is not None and request.path == "/":
            # The token moves into a cookie, out of sight.
            kept = f"{COOKIE}={self.access.token}; Path=/; Max-Age={_YEAR_S}; HttpOnly; SameSite=Lax"
            return Response("", 302, {"Location": "/", "Set-Cookie": kept})
        response: Response = await app.dispatch_request(request)
        return response

    def _refusal(self, request: Request) -> tuple[Refusal | None, Visit]:
        cookie, query = (str(tokens.get(name) or "") for tokens, name in _tokens(request))
        visit = Visit(request.headers, request.path, cookie, query)
        return self.access.refusal(visit), visit


def _tokens(request: Request) -> tuple[tuple[Mapping[str, Any], str], ...]:
    return (request.cookies, COOKIE), (request.args, "token")


class _BoundedReader:
    """Bounded reader of a request, from which microdot would otherwise take headers without end."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.taken_bytes = 0
        self.read = reader.read
        self.readexactly = reader.readexactly

    async def readline(self) -> bytes:
        line = await self._reader.readline()
        self.taken_bytes += len(line)
        if self.taken_bytes > _MAX_HEAD_BYTES:
            raise ValueError("the head of the request is too long")
        return line


async def _send(response: Response, connection: Connection) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if response.reason is None:
        with suppress(ValueError):
            response.reason = HTTPStatus(response.status_code).phrase
    try:
        await response.write(connection)  # type: ignore[arg-type]  # it asks for `awrite` only
    finally:
        if hasattr(response.body, "aclose"):
            await response.body.aclose()
    await connection.aclose()
    if response.status_code >= 400:
        await connection.linger()


def _guarded(path: str, handler: Handler) -> Handler:
    """The handler, with one line where it fails; microdot would print a traceback."""

    async def guarded(request: Request) -> Any:
        try:
            return await handler(request)
        except Exception as error:
            logger.warning("web server: %s failed: %s: %s", path, type(error).__name__, error)
            return "The server failed. Its log says how.\n", 500

    return guarded


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    logger.debug("web server: %s", context.get("exception") or context.get("message"))
