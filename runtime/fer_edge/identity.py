"""Which board this is: an identifier that outlives restarts, and a name a person recognises.

Two boards may have been made from one memory card image and bear the same host name, so the identifier is a digest of
the machine id, the board's serial number and the host name. None of them can be computed back from it: the machine id
is confidential (machine-id(5)), so it only is the key of the digest, as in sd_id128_get_machine_app_specific(3).
"""

import hashlib
import hmac
import re
import socket
import uuid
from pathlib import Path

# This application's own, as sd_id128_get_machine_app_specific(3) asks for; made once at random.
_APPLICATION = bytes.fromhex("5be8cffff06f4240891e619d96545ff2")
_MACHINE_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
_SERIALS = ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number")
_NAME_LETTERS = 24


def board_id(root: Path = Path("/"), host_name: str | None = None) -> str:
    """Return 32 hexadecimal digits that are this board's and no other's; `root` is where /etc and /proc stand."""
    key = bytes.fromhex(machine_id(root)) or _network_address()
    name = socket.gethostname() if host_name is None else host_name
    parts = (_APPLICATION, _first_line(root, _SERIALS).encode(), name.encode("utf-8", "surrogateescape"))
    # Each part with its length, so that no two lists of parts are one text.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]


def board_name(root: Path = Path("/"), host_name: str | None = None) -> str:
    """Return `HOSTNAME-ID`: letters, digits and - only, distinct for distinct boards."""
    name = socket.gethostname() if host_name is None else host_name
    return f"{slug(name.partition('.')[0]) or 'board'}-{board_id(root, name)[:8]}"


def machine_id(root: Path = Path("/")) -> str:
    """Return the 32 hexadecimal digits systemd gave this machine, empty where there are none (yet)."""
    found = _first_line(root, _MACHINE_IDS).lower()
    return found if re.fullmatch(r"(?!0{32})[0-9a-f]{32}", found) else ""


def slug(name: str) -> str:
    """Return the letters and digits of a name that are ASCII, all else as -; different names may become one."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_NAME_LETTERS].strip("-")


def distinct_slug(name: str) -> str:
    """Return `slug` with a digest of the whole name behind it, so that different names stay different."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return "_".join(part for part in (slug(name).replace("-", "_"), digest) if part)


def _network_address() -> bytes:
    """The hardware address of a network card, empty where Python finds none and makes one up."""
    number = uuid.getnode()
    return b"" if number >> 40 & 1 else number.to_bytes(6, "big")


def _first_line(root: Path, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace").strip("\0 \n")
        except OSError:
            continue
        if text:
            return text.splitlines()[0]
    return ""
