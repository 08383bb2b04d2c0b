"""Network streams (RTSP, MJPEG over HTTP, RTMP), read by the FFMPEG inside OpenCV.

A stream is live: only its newest frame counts. A video file behind http:// is read so, too, once and to its end;
download it to have every frame of it.
"""

import socket
from urllib.parse import urlsplit

import cv2

from fer_edge.errors import SourceError
from fer_edge.native import native_text
from fer_edge.quiet import quiet_opencv
from fer_edge.redaction import HIDDEN, redacted, scrubbed
from fer_edge.sources.capture import CaptureDevice
from fer_edge.sources.latest import LiveOptions, LiveSource

_PORTS = {"http": 80, "https": 443, "rtmp": 1935, "rtsp": 554, "rtsps": 322}
# Shares of the time for the first frame, so that the reason for a failure is known before that time is over.
_OPEN_SHARE = 0.6
_PROBE_SHARE = 0.3
_NOT_VALID = (
    "not a valid address. Expected scheme://user:password@host:port/path, special characters as %XX (@ is %40)."
)


def stream_source(address: str, options: LiveOptions | None = None) -> LiveSource:
    """The stream at `address`, which may hold `user:password@`; the source's name holds no secret.

    Raises SourceError for an address that is not UTF-8.
    """
    chosen = options or LiveOptions()
    name = redacted(address)
    native_text(address, name, SourceError)
    return LiveSource(name, lambda: _open(address, name, chosen), chosen)


def _open(address: str, name: str, options: LiveOptions) -> CaptureDevice:
    quiet_opencv()
    limits = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(options.first_frame_s * _OPEN_SHARE * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(options.silence_s * 1000)),
    ]
    try:
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    except cv2.error as error:
        raise SourceError(f"{name}: {scrubbed(' '.join(str(error).split()), address)}") from None
    if not capture.isOpened():
        raise SourceError(f"{name}: {_why_not(address, options.first_frame_s * _PROBE_SHARE)}")
    return CaptureDevice(capture)


def _why_not(address: str, timeout_s: float) -> str:
    """What OpenCV does not tell: does the host answer at all?"""
    if redacted(address).endswith(f"://{HIDDEN}"):
        # What would be taken for the host may be part of a password, so it is neither asked nor shown.
        return _NOT_VALID
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme.lower()]
    except ValueError:
        return _NOT_VALID
    try:
        socket.create_connection((host, port), timeout_s).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return f"no answer from {host} port {port} ({why}). Check the address, the network and that the camera is on."
    return f"{host} answers, but sends no video here. Check path, user and password."
