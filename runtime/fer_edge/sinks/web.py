"""The web page: live picture, expressions, timeline, latency and temperature, for boards without a screen.

Needs the extra `web` (microdot). No frame leaves memory; see `Pictures` for what may be shown.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fer_edge.frames import Frame, FrameResult
from fer_edge.pictures import Pictures
from fer_edge.program.vitals import Vitals
from fer_edge.serving.access import Access, access_for
from fer_edge.serving.listening import listen_address
from fer_edge.serving.server import DEFAULT_VIEWERS, Handler, Server
from fer_edge.sinks.live_view import PERIOD_S, LiveView

if TYPE_CHECKING:
    from microdot import Request

_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PICTURE_POLL_S = 0.03


class WebSink:
    """Serves the page at `address` (`[HOST:]PORT`) to `max_viewers` at a time.

    A token made here is printed once, when the page opens.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        pictures: Pictures,
        vitals: Callable[[], Vitals],
        *,
        max_viewers: int = DEFAULT_VIEWERS,
    ) -> None:
        where = listen_address(address, "--web")
        self.access: Access = access_for(where, token)
        self.view = LiveView(pictures, vitals)
        routes = {path: _static(name, content_type) for path, (name, content_type) in _PAGE.items()}
        routes |= {"/events": self._events, "/stream.mjpg": self._stream}
        routes |= {"/minutes": self._minutes, "/minutes.csv": self._minutes_csv}
        self.server = Server(where, self.access, routes, max_viewers=max_viewers)
        self.name = f"web {address}"

    def __enter__(self) -> WebSink:
        """Listen, and say where. Raises UsageError."""
        self.server.__enter__()
        # On standard error: standard output may be a pipe of results.
        shown = self.server.url if self.access.made or self.access.token is None else self.server.url.split("?")[0]
        print(f"fer-edge: web page at {shown}", file=sys.stderr, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server."""
        self.server.__exit__(kind, error, trace)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    def try_port(self) -> None:
        """Raise UsageError where it could not listen now."""
        self.server.try_port()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Keep the newest result for whoever looks."""
        self.view.put(frame, result)

    async def _events(self, request: Request) -> Any:
        return self.server.stream(request, self._event_stream(), "text/event-stream")

    async def _stream(self, request: Request) -> Any:
        if self.view.privacy == "numbers":
            return "No pictures: --privacy numbers.\n", 403
        return self.server.stream(request, self._pictures(), "multipart/x-mixed-replace; boundary=frame")

    async def _minutes(self, request: Request) -> Any:
        return self.view.minutes()

    async def _minutes_csv(self, request: Request) -> Any:
        return self.view.minutes_csv(), 200, {"Content-Type": "text/csv; charset=utf-8"}

    async def _event_stream(self) -> AsyncIterator[bytes]:
        """Server-sent events: the history once, then the newest values as they change."""
        sent = 0
        while not self.server.ending:
            number = self.view.state_number
            if number != sent:
                state = self.view.state(with_history=sent == 0)
                sent = number
                yield f"data: {json.dumps(state)}\n\n".encode()
            await asyncio.sleep(PERIOD_S / 2)

    async def _pictures(self) -> AsyncIterator[bytes]:
        """MJPEG. A viewer on a slow line is sent fewer pictures, never older ones."""
        self.view.join()
        sent = 0
        # Browsers show a picture when they have read the boundary behind it, which so must not wait for the next one.
        boundary = b"--frame\r\n"
        try:
            yield boundary
            while not self.server.ending:
                number, data = self.view.jpeg()
                if data and number != sent:
                    sent = number
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    yield head.encode() + data + b"\r\n" + boundary
                await asyncio.sleep(_PICTURE_POLL_S)
        finally:
            self.view.leave()


def _static(name: str, content_type: str) -> Handler:
    data = (files("fer_edge") / "data" / "page" / name).read_bytes()

    async def page(request: Request) -> Any:
        return data, 200, {"Content-Type": content_type}

    return page
