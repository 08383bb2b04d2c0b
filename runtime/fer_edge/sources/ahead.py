"""Reading a file ahead of who takes its frames, by a thread with a short queue: nothing is dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Enough to hide the decoding; more would only cost memory.
_AHEAD = 2
_JOIN_S = 1.0


class ReadAhead(Generic[Item]):
    """Iterates what `items` gives, which a thread of its own asks for. What `items` raises is raised here."""

    def __init__(self, items: Iterator[Item], name: str) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """The items in order, each once."""
        while not isinstance(found := self._queue.get(), BaseException | None):
            yield found[0]
        if found is not None:
            raise found

    def close(self) -> None:
        """Stop the thread and join it."""
        self._stop.set()
        while not self._queue.empty():
            self._queue.get_nowait()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
        except Exception as error:  # it belongs to who iterates
            end = error
        self._put(end)

    def _put(self, item: tuple[Item] | BaseException | None) -> bool:
        """Queue `item` as soon as there is room; false when the reading was stopped."""
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.05)
            except queue.Full:
                continue
            return True
        return False
