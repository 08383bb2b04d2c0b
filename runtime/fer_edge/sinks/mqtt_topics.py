"""Topics that fer-edge publishes below its prefix. No other module names one: to change a topic, change it here."""

from dataclasses import dataclass

from fer_edge.errors import UsageError
from fer_edge.identity import board_name

_LONGEST_PREFIX = 200


@dataclass(frozen=True)
class Topics:
    """The topics below one prefix.

    `available` is online or offline (retained), `events` says what a face did, `state` how many faces there are and the
    largest one's expression (retained), `stats` how the program fares.
    """

    prefix: str

    @property
    def available(self) -> str:
        """Whether the program runs, and its last will."""
        return f"{self.prefix}/available"

    @property
    def events(self) -> str:
        """A face appeared, changed or left."""
        return f"{self.prefix}/events"

    @property
    def state(self) -> str:
        """Faces now."""
        return f"{self.prefix}/state"

    @property
    def stats(self) -> str:
        """Frame rate, temperature, counts, and who sends them."""
        return f"{self.prefix}/stats"

    @property
    def retained(self) -> tuple[str, ...]:
        """Those the broker keeps until somebody takes them back."""
        return self.available, self.state


def topics_below(prefix: str | None) -> Topics:
    """Topics below the prefix given, or this board's own. Raises UsageError for one that no broker would take."""
    if prefix is None:
        return Topics(f"fer-edge/{board_name()}")
    wrong = not prefix or not prefix.isprintable() or len(prefix) > _LONGEST_PREFIX or set(prefix) & set("+#")
    if wrong or prefix.startswith(("/", "$")) or prefix.endswith("/"):
        raise UsageError(f"--mqtt-topic {prefix[:_LONGEST_PREFIX]!r}: expected a prefix such as home/door.")
    return Topics(prefix)
