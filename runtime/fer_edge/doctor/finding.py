"""One thing the doctor looked at."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """`OK`; `WARN` where it works, but less well or not with everything; `BAD` where it does not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "BAD"


@dataclass(frozen=True)
class Finding:
    """One finding in one line, and its remedy; `is_model` where a model or detector is refused."""

    subject: str
    state: State
    text: str
    remedy: str = ""
    is_model: bool = False
