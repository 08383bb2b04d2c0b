"""Keeping a converter's chatter off the terminal, without losing it when the conversion fails."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from fer_edge.errors import FerEdgeError


@contextmanager
def quiet() -> Iterator[None]:
    """Send standard output and error, native code's too, to a temporary file; show it if the block raises.

    A FerEdgeError says in one line all there is to say, so nothing is shown with it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 1)
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except FerEdgeError:
            _restore(kept)
            raise
        except BaseException:
            _restore(kept)
            chatter.seek(0)
            sys.stderr.write(chatter.read().decode(errors="replace"))
            raise
        else:
            _restore(kept)


def _restore(kept: tuple[int, int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor, original in enumerate(kept, start=1):
        os.dup2(original, descriptor)
        os.close(original)
