"""A real MJPEG-over-HTTP server on the loopback address, which can be killed with its connections."""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2

from tests.runtime.fakes.media import numbered


class MjpegServer:
    """Serves `numbered` pictures, the level rising with time, until it is left. Port 0 takes a free one."""

    def __init__(self, port: int = 0, period_s: float = 0.02) -> None:
        self._killed = threading.Event()
        killed = self._killed

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                count = 0
                while not killed.is_set():
                    data = cv2.imencode(".jpg", numbered(count % 25))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                    try:
                        self.wfile.write(head + data + b"\r\n")
                    except OSError:
                        return
                    count += 1
                    time.sleep(period_s)

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

    def stop(self) -> None:
        """End the server and every connection; a second time does nothing."""
        self._killed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
