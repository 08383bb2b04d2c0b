"""Hiding secrets in addresses: what a log, a page or a result may show of a camera's or a broker's address.

Cameras take passwords in many places: `user:password@`, `?pwd=`, `/user=admin_password=..._channel=1`. So scheme, host
and port are shown, a path only as far as it is known to be harmless, and nothing else.
"""

import os
import re
import urllib.parse
from itertools import takewhile

HIDDEN = "***"

_SCHEMES = (
    *("file", "ftp", "ftps", "hls", "http", "https", "mqtt", "mqtts", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp"),
    *("rtsps", "rtspu", "sftp", "srt", "tcp", "udp", "ws", "wss"),
)
# scheme://, and what becomes of it when it is read as a path (rtsp:/) or mistyped (rtsp:).
_SCHEME = re.compile(r"([A-Za-z]+):/{0,2}")
_PLACE = re.compile(r"(?:\w[\w-]*(?:\.[\w-]+)*\.?|\[[0-9A-Fa-f:.]+(?:%(?:25)?[a-z]{2,5}\d{1,2})?\])(?::\d{0,5})?")
# Words of which the paths of cameras are made; a secret is none of them. A number of a channel may follow.
_HARMLESS = re.compile(
    r"(?:av|cam|camera|ch|channel|channels|cif|h264|h265|hls|live|main|media|mjpeg|mjpg|mpeg4|onvif|preview|profile|sub"
    r"|stream|streaming|streams|test|unicast|video|videos|webcam)[_-]?\d{0,2}"
    r"(?:\.(?:asf|avi|cgi|flv|jpeg|jpg|m3u8|mjpeg|mjpg|mkv|mov|mp4|sdp|ts|webm))?",
    re.IGNORECASE,
)
# A text without a scheme: the characters of a path that nobody would take for an address.
_PLAIN_PATH = re.compile(r"(?!\w[\w-]*(?:\.[\w-]+)+/)(?:[^@:=?&;%#*|<>\"'\\\x00-\x1f]|%(?![0-9A-Fa-f]{2}))*")
_DEVICE = re.compile(r"picamera2(?::\w{0,20})?|/dev/[^@=?&%#]*")
_SEPARATORS = re.compile(r"[/@:?#&=;,]+")
_SHORTEST_SECRET = 3
_SHOWN_CHARS = 120


def redacted(text: str) -> str:
    """Return an address as it may be shown, everything that may be a secret replaced by `***`.

    A text without a scheme is shown whole where it is the name of a file or folder here, or can be nothing but one.
    """
    if "://" not in text and (_DEVICE.fullmatch(text) or _PLAIN_PATH.fullmatch(text) or _is_here(text)):
        return text
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() in _SCHEMES:
        return f"{scheme[0]}{_redacted_place(text[scheme.end() :])}"
    if ":/" in text:
        return HIDDEN
    # A colon may stand before a port or before a password.
    return re.sub(r":\d+(?=/|$)", f":{HIDDEN}", _redacted_place(text))


def quoted(text: str) -> str:
    """Return `text` in quotes for a message, without the secrets of an address, and cut short."""
    shown = redacted(text)
    return repr(shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}...")


def scrubbed(message: str, address: str) -> str:
    """Return a library's message about `address` without those parts of the address that `redacted` hides."""
    shown = redacted(address)
    raw = {address, *_SEPARATORS.split(address)}
    parts = raw | {urllib.parse.unquote(part) for part in raw} | {urllib.parse.quote(part, safe="") for part in raw}
    for part in sorted(parts | {repr(part)[1:-1] for part in parts}, key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET and part.lower() not in shown.lower():
            message = re.sub(re.escape(part), HIDDEN, message, flags=re.IGNORECASE)
    return message


def _redacted_place(rest: str) -> str:
    """Parts of an address after the scheme: user and password, host and port, path and query."""
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    credentials, at, place = authority.rpartition("@")
    # An @ behind the first / may belong to a password with a / in it; then nobody can tell where the host begins.
    if "@" in tail or not _PLACE.fullmatch(place):
        return HIDDEN
    return f"{HIDDEN if credentials or at else ''}{at}{place}{_redacted_path(tail)}"


def _redacted_path(tail: str) -> str:
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    known = "".join(f"/{word}" for word in takewhile(_is_harmless, path.split("/")[1:]))
    if tail in (known, f"{known}/"):
        return tail
    return f"{known}{'?' if tail[len(known)] in '?#' else '/'}{HIDDEN}"


def _is_harmless(word: str) -> bool:
    return _HARMLESS.fullmatch(word) is not None


def _is_here(text: str) -> bool:
    """Whether `text` is the name of something here, or lies below something that is."""
    try:
        return os.path.lexists(text) or (not text.startswith("/") and os.path.lexists(text.split("/")[0]))
    except ValueError:  # a NUL, or what no file system takes
        return False
