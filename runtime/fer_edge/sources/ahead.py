"""Reading a file ahead of who takes its frames, by a thread with a short queue: nothing is dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")

_JOIN_S = 1.0


class ReadAhead(Generic[Item]):
    """Iterates what `items` gives, which a thread of its own asks for. What `items` raises is raised here.

    `ahead` items are kept ready: two hide the decoding of a video, more would only cost memory.
    """

    def __init__(self, items: Iterator[Item], name: str, ahead: int = 2) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """The items in order, each once."""
        # Popped, not named: items may be large, and a name would keep one while the next is made.
        taken = [self._queue.get()]
        while isinstance(taken[0], tuple):
            yield taken.pop()[0]  # type: ignore[index]
            taken.append(self._queue.get())
        if taken[0] is not None:
            raise taken[0]

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
                del item
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
