"""A real MJPEG-over-HTTP server on the loopback address, which can be killed with its connections."""

import contextlib
import random
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from tests.runtime.fakes.media import numbered


class MjpegServer:
    """Serves `numbered` pictures, the level rising with time, until it is left. Port 0 takes a free one.

    With a `picture`, grey (h, w) or BGR (h, w, 3), it serves that one.
    """

    def __init__(self, port: int = 0, period_s: float = 0.02, picture: np.ndarray | None = None) -> None:
        self._killed = threading.Event()
        killed = self._killed
        self._sends = sends = threading.Event()
        sends.set()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                count = 0
                while sends.wait() and not killed.is_set():
                    shown = numbered(count % 25) if picture is None else picture
                    data = cv2.imencode(".jpg", shown)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    try:
                        self.wfile.write(head + data + b"\r\n")
                    except OSError:
                        return
                    count += 1
                    killed.wait(period_s)

            def log_message(self, *arguments: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "MjpegServer":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self.stop()

    def pause(self) -> None:
        """Keep the connections, and send nothing more."""
        self._sends.clear()

    def stop(self) -> None:
        """End the server and every connection; a second time does nothing."""
        self._killed.set()
        self._sends.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def free_port() -> int:
    """A port nobody listens on, from a range the system takes none of for connections; other tests draw from it too."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
