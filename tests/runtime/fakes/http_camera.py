"""An HTTP camera on the loopback address whose every byte a test decides."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2

from tests.runtime.fakes.media import numbered


@dataclass
class Request:
    """A request as it came. `send` writes to whoever asked; it fails silently once they are gone."""

    path: str
    headers: dict[str, str]
    connection: socket.socket

    def send(self, data: bytes) -> bool:
        try:
            self.connection.sendall(data)
        except OSError:
            return False
        return True

    def answer(self, status: str, *headers: str, body: bytes = b"") -> None:
        head = "\r\n".join(
            [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
        )
        self.send(head.encode() + body)


@dataclass
class HttpCamera:
    """Serves each connection with `behave(request)` in a thread of its own, then closes it. `requests` keeps them."""

    behave: Callable[[Request], None]
    host: str = "127.0.0.1"
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "HttpCamera":
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for request in self.requests:
            request.connection.close()
        self._thread.join()

    def address(self, path: str = "/", user: str = "") -> str:
        return (
            f"http://{user}{'@' if user else ''}{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}{path}"
        )

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            text = b""
            while b"\r\n\r\n" not in text:
                piece = connection.recv(4096)
                if not piece:
                    return
                text += piece
            first, *lines = text.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            request = Request(first.split(" ")[1], headers, connection)
            self.requests.append(request)
            self.behave(request)


def jpeg(index: int = 1) -> bytes:
    """One of `numbered` as a JPEG."""
    return cv2.imencode(".jpg", numbered(index))[1].tobytes()


def mjpeg_head(boundary: str = "frame") -> bytes:
    return f"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary={boundary}\r\n\r\n".encode()


def part(data: bytes, delimiter: str = "--frame", *, with_length: bool = True) -> bytes:
    length = f"Content-Length: {len(data)}\r\n" if with_length else ""
    return f"{delimiter}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n"
