"""Who may see: anybody on this machine, and from elsewhere whoever has the token."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fer_edge.errors import UsageError
from fer_edge.serving.listening import ListenAddress, is_loopback

COOKIE = "fer_edge_token"
_MIN_TOKEN = 12
# What proxies add. Who comes through one is not on this machine, although the connection is.
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_LONGEST_NAME = 80
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{0,5})?")


@dataclass(frozen=True)
class Visit:
    """Credentials of a request: its headers (without case), its path, and the token in its cookie and query."""

    headers: Mapping[str, str]
    path: str
    cookie: str = ""
    query: str = ""

    def header(self, name: str) -> str:
        """A header's value, empty without it."""
        return str(self.headers.get(name) or "").strip()


@dataclass(frozen=True)
class Refusal:
    """An HTTP status and the text that says why."""

    status: int
    text: str


@dataclass(frozen=True)
class Access:
    """The rule of one server, which listens as `host`.

    `token` is None where none is needed; `made` says it was made here and must be told.
    """

    token: str | None
    made: bool = False
    host: str = ""

    def refusal(self, visit: Visit) -> Refusal | None:
        """Why this visit is refused; None where it is welcome."""
        if _is_from_another_site(visit):
            return Refusal(403, "Another web site asked for this. Open the page itself.\n")
        return self._refusal_here(visit) if self.token is None else self._refusal_without_token(visit, self.token)

    def _refusal_without_token(self, visit: Visit, token: str) -> Refusal | None:
        scheme, _, bearer = visit.header("Authorization").partition(" ")
        given = [visit.cookie, visit.query, bearer.strip() if scheme.lower() == "bearer" else ""]
        expected = token.encode()
        if any(secrets.compare_digest(one.encode("utf-8", "surrogatepass"), expected) for one in given if one):
            return None
        how = "open the link that fer-edge printed when it started" if self.made else "add ?token=... to the address"
        return Refusal(401, f"This address needs its token: {how}, or send `Authorization: Bearer TOKEN`.\n")

    def _refusal_here(self, visit: Visit) -> Refusal | None:
        """Without a token only this machine may come in."""
        proxied = next((name for name in _PROXY_HEADERS if visit.header(name)), None)
        if proxied is not None:
            why = f"This request came through a proxy ({proxied}), so it may be anybody's"
            return Refusal(403, f"{why}. To let others in, set a token: [web] token or --web-token.\n")
        # A web site elsewhere may point its own name at 127.0.0.1 (DNS rebinding); it cannot forge this header.
        host = visit.header("Host")
        if self._is_own_name(host):
            return None
        shown = repr(host[:_LONGEST_NAME]) if host else "no host name at all"
        why = f"This request is for {shown}, and without a token only names of this machine are answered"
        return Refusal(403, f"{why}, such as localhost. To let others in, set a token: [web] token or --web-token.\n")

    def _is_own_name(self, host: str) -> bool:
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        name = parts[1].strip("[]").rstrip(".")
        own = self.host.lower().rstrip(".")
        return name in ("localhost", own) or name.endswith(".localhost") or is_loopback(name)


def _is_from_another_site(visit: Visit) -> bool:
    """Did another web site have the browser ask? A link to the page itself may be followed from anywhere."""
    site = visit.header("Sec-Fetch-Site").lower()
    if site in ("cross-site", "same-site"):
        is_link = (visit.header("Sec-Fetch-Mode").lower(), visit.header("Sec-Fetch-Dest").lower())
        return not (visit.path == "/" and is_link == ("navigate", "document"))
    origin = visit.header("Origin")
    if not origin:
        return False
    # Older browsers; to addresses other than this machine's the newer ones, too.
    try:
        place = urlsplit(origin).netloc.lower()
    except ValueError:
        return True
    return place not in (visit.header("Host").lower(), visit.header("X-Forwarded-Host").lower()) or not place


def access_for(address: ListenAddress, token: str | None) -> Access:
    """The rule for an address: the given token, none on the loopback address, else a new one.

    Raises UsageError for a token that could be guessed.
    """
    if token is not None:
        if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set(' ;,"\\'):
            raise UsageError(
                f"--web-token: expected at least {_MIN_TOKEN} letters and digits, such as {secrets.token_urlsafe(12)}."
            )
        return Access(token, host=address.host)
    made = None if address.is_loopback else secrets.token_urlsafe(16)
    return Access(made, made is not None, address.host)
