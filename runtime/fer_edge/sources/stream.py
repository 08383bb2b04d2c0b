"""Network streams: pictures over HTTP by this program itself; RTSP, RTMP and video files by the FFMPEG inside OpenCV.

A stream is live: only its newest frame counts. A video file behind http:// is read so, too, once and to its end;
download it to have every frame of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.native import native_text
from fer_edge.picture_header import SNIFF_BYTES, kind_of_picture
from fer_edge.redaction import HIDDEN, redacted, scrubbed
from fer_edge.sources.capture import CaptureDevice
from fer_edge.sources.ffmpeg import open_capture
from fer_edge.sources.http_camera import MjpegDevice, MultipartReader, SnapshotDevice
from fer_edge.sources.http_client import HttpClient
from fer_edge.sources.live import LiveOptions, LiveSource
from fer_edge.sources.newest import Device
from fer_edge.troubles import Troubles

logger = logging.getLogger("fer_edge")

_PORTS = {"http": 80, "https": 443, "rtmp": 1935, "rtsp": 554, "rtsps": 322}
# Shares of the time for the first frame, so that the reason for a failure is known before that time is over.
_OPEN_SHARE = 0.6
_PROBE_SHARE = 0.3
_NOT_VALID = (
    "not a valid address. Expected scheme://user:password@host:port/path, special characters as %XX (@ is %40)."
)
# What FFMPEG may find behind http://: containers and bare video, but nothing that names other addresses in turn.
_CONTAINERS = (
    *(
        "mov,mp4,m4a,3gp,3g2,mj2",
        "matroska,webm",
        "avi",
        "mpegts",
        "mpeg",
        "mpegvideo",
        "m4v",
        "flv",
        "live_flv",
        "asf",
    ),
    *("ogg", "mjpeg", "mpjpeg", "h264", "hevc", "ivf"),
)
_SAME_HOST = {
    "protocol_whitelist": "http,https,tls,tcp,httpproxy",
    "format_whitelist": ",".join(_CONTAINERS),
    "max_redirects": "0",
}
_PLAYLISTS = (
    *("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"),
    "application/dash+xml",
)


def stream_source(address: str, options: LiveOptions | None = None) -> LiveSource:
    """The stream at `address`, which may hold `user:password@`; the source's name holds no secret.

    Raises SourceError for an address that is not UTF-8.
    """
    chosen = options or LiveOptions()
    # A camera that is seldom asked is not silent.
    chosen = replace(chosen, silence_s=max(chosen.silence_s, chosen.snapshot_s + chosen.first_frame_s))
    name = redacted(address)
    native_text(address, name, SourceError)
    stream = _Stream(address, name, chosen)
    return LiveSource(name, stream.open, chosen, stream.interrupt)


class _Stream:
    """Opens one address, again and again; `interrupt` ends what another thread does with it."""

    def __init__(self, address: str, name: str, options: LiveOptions) -> None:
        self._address, self._name, self._options = address, name, options
        self._client: HttpClient | None = None
        self._host, self._port = "", 0
        self._peers: set[str] = set()
        self._troubles = Troubles()
        self._told = False

    def open(self) -> Device:
        """Connect. Raises SourceError, SourceAbsentError."""
        self._host, self._port = _place_of(self._address, self._name)
        if urlsplit(self._address).scheme.lower() in ("http", "https"):
            return self._open_http()
        return self._open_ffmpeg(self._address, None)

    def interrupt(self) -> None:
        """Close the connection under whoever reads it."""
        if self._client is not None:
            self._client.interrupt()
        _shut_connections(self._peers, self._port)

    def _open_http(self) -> Device:
        options = self._options
        self._client = client = HttpClient(self._address, self._name, other_hosts=options.other_hosts)
        timeouts_s = (options.first_frame_s * _OPEN_SHARE, options.silence_s)
        try:
            answer = client.get(*timeouts_s)
            kind = answer.content_type
            if kind.startswith("multipart/"):
                reader = MultipartReader(answer.read, answer.boundary)
                return MjpegDevice(client, reader, self._name, options.limit, self._troubles)
            if kind.startswith("image/"):
                self._tell_once(f"it sends one picture a request, and is asked every {options.snapshot_s:g} s.")
                return SnapshotDevice(client, answer, self._name, options.limit, options.snapshot_s, timeouts_s)
            head = answer.read(SNIFF_BYTES)
            client.close()
            if client.interrupted.is_set():
                raise SourceError(f"{self._name}: closed.")
            self._refuse(kind, head)
            return self._open_ffmpeg(answer.address, None if options.other_hosts else _SAME_HOST)
        except BaseException:
            client.close()
            raise

    def _refuse(self, kind: str, head: bytes) -> None:
        """Raise SourceError for what is no video, or one that would have other addresses opened."""
        playlist = kind in _PLAYLISTS or head.lstrip().startswith((b"#EXTM3U", b"<MPD"))
        if playlist and not self._options.other_hosts:
            raise SourceError(
                f"{self._name}: a playlist (HLS, DASH), which can name any address of this network. Give the camera's "
                "rtsp:// or MJPEG address, or allow it with --other-hosts."
            )
        if kind == "text/html":
            raise SourceError(f"{self._name}: a web page, no video. Expected the address of the stream itself.")
        if kind_of_picture(head) is not None:
            raise SourceError(f"{self._name}: a picture that calls itself {kind or 'nothing'}; expected image/jpeg.")

    def _open_ffmpeg(self, address: str, allowed: dict[str, str] | None) -> Device:
        options = self._options
        with contextlib.suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._peers = {str(entry[4][0]) for entry in found}
        limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(options.first_frame_s * _OPEN_SHARE * 1000)),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(options.silence_s * 1000)),
        ]
        try:
            capture = open_capture(address, self._name, limits, limit=options.limit, options=allowed)
        except cv2.error as error:
            raise SourceError(f"{self._name}: {scrubbed(' '.join(str(error).split()), address)}") from None
        if not capture.isOpened():
            raise self._why_not(options.first_frame_s * _PROBE_SHARE)
        return CaptureDevice(capture)

    def _why_not(self, timeout_s: float) -> SourceError:
        """Find out whether the host answers at all, which OpenCV does not tell."""
        host, port = self._host, self._port
        try:
            socket.create_connection((host, port), timeout_s).close()
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return SourceAbsentError(
                f"{self._name}: no answer from {host} port {port} ({why}). Check the address, the network and that the "
                "camera is on."
            )
        return SourceError(f"{self._name}: {host} answers, but sends no video here. Check path, user and password.")

    def _tell_once(self, text: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("%s: %s", self._name, text)


def _place_of(address: str, name: str) -> tuple[str, int]:
    """Host and port. Raises SourceError for an address without, or one whose host may be part of a password."""
    if redacted(address).endswith(f"://{HIDDEN}"):
        raise SourceError(f"{name}: {_NOT_VALID}")
    try:
        parts = urlsplit(address)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme.lower()]
    except ValueError:
        raise SourceError(f"{name}: {_NOT_VALID}") from None


def _shut_connections(peers: set[str], port: int) -> None:
    """Shut this process's connections to a camera, so that FFMPEG comes back from a read: it has no other way."""
    if not peers:
        return
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                peer = connection.getpeername()
                if isinstance(peer, tuple) and peer[0] in peers and peer[1] == port:
                    connection.shutdown(socket.SHUT_RDWR)
