"""Secrets that stand in files of their own: tokens, passwords, whole addresses.

A relative name is looked for among systemd's credentials first ($CREDENTIALS_DIRECTORY, systemd.exec(5)), then in the
working directory, then where systemd keeps them (/etc/credstore, which root may read). A file that holds a secret and
that every user of the machine may read is named, with the remedy.
"""

import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fer_edge.errors import UsageError
from fer_edge.redaction import redacted

_MAX_BYTES = 16_384
EXPOSED = "holds a secret that every user here may read"
_CREDSTORE = Path("/etc/credstore")


@dataclass(frozen=True)
class SecretFile:
    """The setting `key` is filled from the file that the setting `file_key` names; both are "section.key"."""

    file_key: str
    key: str
    combine: Callable[[str | None, str, str], str]

    @property
    def label(self) -> str:
        """The setting as the configuration file writes it."""
        section, _, name = self.file_key.partition(".")
        return f"[{section}] {name}"


def _alone(value: str | None, secret: str, label: str) -> str:
    if value is not None:
        raise UsageError(f"{label} and {label.removesuffix('_file')} are both set, expected one of them.")
    return secret


def _with_password(address: str | None, password: str, label: str) -> str:
    """`scheme://USER@HOST...` with the password put in, escaped."""
    scheme, separator, rest = (address or "").partition("://")
    user, at, place = rest.partition("@")
    if not separator or not at or not user or set(user) & set(":/?#"):
        section = label.split()[0]
        example = f'{section} address = "scheme://USER@HOST"'
        raise UsageError(f"{label} needs an address with a user and without a password, such as {example}.")
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


# In this order: a password belongs into an address that may come from a file itself.
SECRET_FILES = (
    SecretFile("source.address_file", "source.address", _alone),
    SecretFile("source.password_file", "source.address", _with_password),
    SecretFile("web.token_file", "web.token", _alone),
    SecretFile("mqtt.password_file", "mqtt.address", _with_password),
)


def fill_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by "section.key" with the secrets read from the files they name. Raises UsageError."""
    filled = dict(values)
    for one in SECRET_FILES:
        path = filled.get(one.file_key)
        if path is not None:
            filled[one.key] = one.combine(filled.get(one.key), read_secret(path, one.label), one.label)
    return filled


def read_secret(path: Path, label: str) -> str:
    """Return the one line of a secret's file. Raises UsageError, which never quotes the file."""
    found = locate(path)
    if not _is_file(found):
        # Whoever takes the setting for that of the secret itself has written the secret there.
        raise UsageError(f"{label}: no file of this name, which may be the secret itself and so is not shown.")
    shown = f"{label} = {redacted(str(path))!r}"
    try:
        with open(found, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read ({error.strerror}).") from None
    try:
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"{shown}: expected a line of UTF-8 text, found other bytes.") from None
    if not text.strip() or not text.isprintable() or len(data) > _MAX_BYTES:
        found_text = "none" if not text.strip() else "several lines, control characters or more than 16 kB"
        raise UsageError(f"{shown}: expected one line of text, found {found_text}.")
    return text


def locate(path: Path) -> Path:
    """The file a name stands for: one of systemd's credentials, or the path itself."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if path.is_absolute():
        return path
    places = [Path(folder) / path] if folder else []
    return next((place for place in (*places, path, _CREDSTORE / path) if _is_file(place)), path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a folder one may not enter, a name that is too long or holds a NUL
        return False


def exposed_secrets(config: Path | None, configured: Mapping[str, Any], values: Mapping[str, Any]) -> list[Path]:
    """Files that hold a secret and may be read by every user of this machine.

    `config` is the configuration file and `configured` what it sets; `values` is all that is set, flags included.
    """
    names = (*(one.file_key for one in SECRET_FILES), "mqtt.key_file")
    files = [locate(values[name]) for name in names if values.get(name) is not None]
    if config is not None and any(_holds_secret(configured, one.key) for one in SECRET_FILES):
        files.append(config)
    return [path for path in files if is_world_readable(path)]


def closing(path: Path) -> str:
    """The command that closes a file to everybody else."""
    return f"Run `chmod o= {shlex.quote(str(path))}`"


def _holds_secret(configured: Mapping[str, Any], key: str) -> bool:
    """A token always is one; an address may be harmless, or name a user whose password stands elsewhere."""
    value = configured.get(key)
    if value is None or not key.endswith(".address"):
        return value is not None
    return redacted(value) != value and key.replace(".address", ".password_file") not in configured


def is_world_readable(path: Path) -> bool:
    """May every user of this machine read the file, through all folders above it?"""
    try:
        real = path.resolve(strict=True)
        may_enter = all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)
        return may_enter and bool(real.stat().st_mode & stat.S_IROTH)
    except (OSError, RuntimeError):  # gone, or a link to itself
        return False
