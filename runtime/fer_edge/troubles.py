"""Messages about a fault that lasts, such as a camera that is away: logged once, then counted, with rare reminders."""

import logging
import time
from collections.abc import Callable

logger = logging.getLogger("fer_edge")

# After these seconds a lasting fault is told of again; six times as long each time, so that a night makes ten lines.
_FIRST_REMINDER_S, _LONGEST_REMINDER_S = 60.0, 3600.0
_REMINDER_FACTOR = 6.0
# What fails again within this time after it was well has not really been.
_FORGOTTEN_S = 600.0
# Some messages hold a number that changes each time; of one fault so many different ones are told at once.
_MOST_DIFFERENT = 5


class Troubles:
    """Report of one thing that fails again and again. `clock_s` is a monotonic clock in seconds."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._told: set[str] = set()
        self._count = 0
        self._relief_due = False
        self._well_since_s: float | None = None
        self._begun_s = self._reminder_s = self._due_s = 0.0

    @property
    def count(self) -> int:
        """How often something was told since all was well."""
        return self._count

    def tell(self, message: str, *, told: bool = False) -> None:
        """Log a fault, unless it was told already and no reminder is due. `told`: somebody else logged this one."""
        now_s = self._clock_s()
        if self._well_since_s is not None and now_s - self._well_since_s >= _FORGOTTEN_S:
            self._told.clear()
            self._count = 0
        self._well_since_s = None
        if not self._count:
            self._begun_s, self._reminder_s, self._due_s = now_s, _FIRST_REMINDER_S, now_s + _FIRST_REMINDER_S
        self._count += 1
        if message not in self._told and len(self._told) < _MOST_DIFFERENT:
            self._told.add(message)
            if not told:
                logger.warning("%s", message)
        elif now_s >= self._due_s:
            logger.warning("%s (%d times in %s)", message, self._count, _length(now_s - self._begun_s))
            self._reminder_s = min(self._reminder_s * _REMINDER_FACTOR, _LONGEST_REMINDER_S)
            self._due_s = now_s + self._reminder_s
        else:
            return
        self._relief_due = True

    def relieve(self, message: str) -> None:
        """Log that it works again, where a fault was logged before; it may not last."""
        if self._relief_due:
            self._relief_due = False
            logger.warning("%s", message)

    def over(self) -> None:
        """All is well; what fails after ten minutes of that is told at once, as a fault of its own."""
        if self._well_since_s is None:
            self._well_since_s = self._clock_s()


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
