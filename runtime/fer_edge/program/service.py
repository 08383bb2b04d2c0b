"""Service protocol of systemd: READY, a watchdog fed by a loop that is alive, STOPPING (sd_notify(3))."""

import os
import socket
import time
from collections.abc import Callable, Mapping


class Supervisor:
    """Tells systemd how the program fares; says nothing where nobody asked (no NOTIFY_SOCKET).

    The watchdog is fed by frames that were processed, and by a loop that knows it waits for a source: that ends by
    itself, with an exit code and every sink closed. A loop that hangs starves it, and systemd starts the program again.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        usec = environ.get("WATCHDOG_USEC", "")
        # A third of the limit, so that one late message does no harm.
        self._period_s = int(usec) / 3e6 if usec.isdigit() else 10.0
        self._clock_s = clock_s
        self._fed_at_s = float("-inf")
        self._ready = self._waits = False

    @property
    def supervised(self) -> bool:
        """True where somebody listens, as systemd does to a service of Type=notify."""
        return bool(self._address)

    @property
    def waits(self) -> bool:
        """True while the source is away."""
        return self._waits

    def frame_done(self) -> None:
        """A frame went through the whole loop."""
        self._be_ready()
        if self._waits:
            self._waits = False
            self.status("frames come")
        self._feed()

    def waiting(self, status: str | None = None) -> None:
        """The loop waits for a frame, or, with a status, for a source that is away to come back.

        A service whose camera is away is ready all the same: it does what it can, and an upgrade must not be taken back
        because somebody pulled a plug.
        """
        if status is not None:
            self._be_ready()
            if not self._waits:
                self._waits = True
                self.status(status)
        self._feed()

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._say("READY=1")

    def _feed(self) -> None:
        now_s = self._clock_s()
        if now_s - self._fed_at_s >= self._period_s:
            self._fed_at_s = now_s
            self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """The program ends in an orderly way."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the NUL of Linux's abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.connect(address)
                line.sendall(message.encode(errors="replace"))
        except OSError:
            return  # a supervisor that went away is no reason to stop
