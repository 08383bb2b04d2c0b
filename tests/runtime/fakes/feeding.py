"""A sink fed from a thread, as the loop would."""

import dataclasses
import threading
import time
from contextlib import contextmanager


@contextmanager
def feeding(sink, *taken):
    """Write frames with their results, over and over, as if read just now, while the block runs."""
    stop = threading.Event()

    def feed():
        while not stop.is_set():
            for frame, result in taken:
                sink.write(dataclasses.replace(frame, read_at_s=time.monotonic()), result)
                stop.wait(0.01)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
