"""Waiting for what another thread or process does. No other place of the tests sleeps; test_layout.py sees to it.

Where a test owns both sides, an event says when to go on. What a program of its own writes to a file, or a server that
comes to listen, has none: it is looked at again and again, for so long that only a failure uses it up.
"""

import socket
import subprocess
import time
from collections.abc import Callable

TIMEOUT_S = 120.0
_LOOK_AGAIN_S = 0.02


def eventually(
    holds: Callable[[], object],
    message: str = "it never came to hold",
    *,
    process: subprocess.Popen | None = None,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Return once `holds()` is true. Fails with `message` after `timeout_s`, or when `process` ends before."""
    end_s = time.monotonic() + timeout_s
    while not holds():
        if process is not None and process.poll() is not None and not holds():
            raise AssertionError(f"{message}; the process ended with {process.returncode}: {_errors(process)}")
        assert time.monotonic() < end_s, message
        time.sleep(_LOOK_AGAIN_S)


def wait_for_port(port: int, process: subprocess.Popen | None = None) -> None:
    """Return once something listens on `port` of 127.0.0.1."""
    eventually(lambda: listens(port), f"nothing listens on port {port}", process=process)


def listens(port: int) -> bool:
    """Whether a connection to `port` of 127.0.0.1 is accepted."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def _errors(process: subprocess.Popen) -> str:
    return process.stderr.read()[-2000:] if process.stderr is not None else ""
