"""Who may see: anybody on this machine, and from elsewhere whoever has the token."""

import secrets
from dataclasses import dataclass

from fer_edge.errors import UsageError
from fer_edge.serving.address import ListenAddress

COOKIE = "fer_edge_token"
_MIN_TOKEN = 12
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Access:
    """The rule of one server. `token` is None where none is needed; `made` says it was made here and must be told."""

    token: str | None
    made: bool = False

    def allows(self, *, host: str, bearer: str, cookie: str, query: str) -> bool:
        """May a request with these come in? `host` is its Host header, the others the places a token may stand in."""
        if self.token is None:
            # A web site elsewhere may point its own name at 127.0.0.1 (DNS rebinding); it cannot forge this header.
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            return name in _LOCAL_NAMES
        wanted = self.token.encode()
        return any(secrets.compare_digest(given.encode(), wanted) for given in (bearer, cookie, query) if given)


def access_for(address: ListenAddress, token: str | None, flag: str) -> Access:
    """The rule for an address: the given token, none on the loopback address, else a new one.

    Raises UsageError for a token that could be guessed.
    """
    if token is not None:
        if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set(' ;,"\\'):
            raise UsageError(
                f"{flag}: expected at least {_MIN_TOKEN} letters and digits, such as {secrets.token_urlsafe(12)}."
            )
        return Access(token)
    return Access(None) if address.is_loopback else Access(secrets.token_urlsafe(16), made=True)
