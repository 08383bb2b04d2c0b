"""Cameras that send pictures over HTTP: MJPEG, one after another in one answer, or one picture a request.

Nothing is gathered without end: a part or a picture has a largest size, its headers too, and a picture's pixels are
counted before it is decoded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.picture_file import PictureTooLargeError, decode_image
from fer_edge.picture_header import PictureLimit, kind_of_picture
from fer_edge.sources.http_client import Answer, HttpClient
from fer_edge.sources.newest import Shot
from fer_edge.troubles import Troubles

logger = logging.getLogger("fer_edge")

# More than any camera sends for a picture.
MOST_PART_BYTES = 16 << 20
_MOST_HEAD_BYTES = 16 << 10
_PIECE_BYTES = 1 << 16


class MultipartError(ValueError):
    """A multipart answer with something in it that no camera sends."""


class MultipartReader:
    """The parts of a multipart/x-mixed-replace body. `read(n)` gives up to n bytes of it, empty at its end.

    Cameras differ in what they call their boundary and in what they really send, so the line that begins with -- where
    a part should begin is believed; the `boundary` of the head only where there is none.
    """

    def __init__(self, read: Callable[[int], bytes], boundary: str = "") -> None:
        self._read = read
        self._buffer = bytearray()
        self._delimiter = b"--" + boundary.encode("latin-1", "replace").removeprefix(b"--")
        self._learned = False

    def next_part(self) -> bytes | None:
        """The body of the next part; None at the end. Raises MultipartError for one that is larger than allowed."""
        if not self._to_head():
            return None
        length = self._length()
        if length is None:
            return self._until_delimiter()
        if length > MOST_PART_BYTES:
            raise MultipartError(f"a part of {length / 1e6:.0f} MB is announced")
        return self._take(length) if self._fill(length) else None

    def _to_head(self) -> bool:
        """Skip what stands before the head of a part, the delimiter included; false at the end."""
        if self._learned:
            while (found := self._buffer.find(self._delimiter)) < 0:
                if len(self._buffer) > MOST_PART_BYTES:
                    raise MultipartError(f"no next part in {len(self._buffer) / 1e6:.0f} MB")
                if not self._more():
                    return False
            self._take(found + len(self._delimiter))
            rest = self._line()
            return rest is not None and rest.strip() != b"--"
        while (line := self._line()) is not None:
            if line.startswith(b"--"):
                self._delimiter, self._learned = line.strip(), True
                return True
            if line.strip():  # a head without a delimiter before it
                self._buffer[:0] = line
                return True
        return False

    def _length(self) -> int | None:
        """Read a head and the empty line behind it: the length of the body, None where it is not told."""
        length, seen = None, 0
        while (line := self._line()) is not None and line.strip():
            seen += len(line)
            if seen > _MOST_HEAD_BYTES:
                raise MultipartError("a part's head does not end")
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit() and len(value) < 20:
                length = int(value)
        return length

    def _until_delimiter(self) -> bytes | None:
        """A body without a length: all up to the next delimiter, which stays."""
        delimiter, looked = b"\n" + self._delimiter, 0
        while (found := self._buffer.find(delimiter, looked)) < 0:
            looked = max(0, len(self._buffer) - len(delimiter))
            if len(self._buffer) > MOST_PART_BYTES:
                raise MultipartError(f"a part does not end after {len(self._buffer) / 1e6:.0f} MB")
            if not self._more():
                return None
        return self._take(found).removesuffix(b"\r")

    def _line(self) -> bytes | None:
        looked = 0
        while (found := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > _MOST_HEAD_BYTES:
                raise MultipartError("a part's head does not end")
            if not self._more():
                return None
        return self._take(found + 1)

    def _fill(self, count: int) -> bool:
        while len(self._buffer) < count:
            if not self._more():
                return False
        return True

    def _more(self) -> bool:
        piece = self._read(_PIECE_BYTES)
        self._buffer += piece
        return bool(piece)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


@dataclass(eq=False)
class MjpegDevice:
    """The pictures of one endless answer. A damaged one is left out."""

    client: HttpClient
    parts: MultipartReader
    name: str
    limit: PictureLimit
    troubles: Troubles

    def read(self) -> Shot | None:
        """The next picture; None where the answer ends. Raises SourceError for one that is too large."""
        while not self.client.interrupted.is_set():
            try:
                part = self.parts.next_part()
            except MultipartError as error:
                raise SourceError(
                    f"{self.name}: {error}; no camera sends more than {MOST_PART_BYTES >> 20} MB."
                ) from None
            if part is None:
                return None
            if kind_of_picture(part[:64]) is None:
                continue  # some send text between their pictures
            try:
                return Shot(decode_image(part, self.name, limit=self.limit))
            except PictureTooLargeError:
                raise
            except SourceError as error:
                self.troubles.tell(f"{error} Left out.")
        return None

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


@dataclass(eq=False)
class SnapshotDevice:
    """A camera that sends one picture a request: it is asked again every `period_s` seconds."""

    client: HttpClient
    answer: Answer | None
    name: str
    limit: PictureLimit
    period_s: float
    timeouts_s: tuple[float, float]
    _due_s: float = 0.0

    def read(self) -> Shot | None:
        """Wait until the next picture is due and ask for it. Raises SourceError."""
        if self.client.interrupted.wait(max(0.0, self._due_s - time.monotonic())):
            return None
        self._due_s = time.monotonic() + self.period_s
        answer, self.answer = self.answer or self.client.get(*self.timeouts_s), None
        return Shot(decode_image(self._body(answer), self.name, limit=self.limit))

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _body(self, answer: Answer) -> bytes:
        data = bytearray()
        while (answer.length_bytes is None or len(data) < answer.length_bytes) and (piece := answer.read(_PIECE_BYTES)):
            data += piece
            if max(len(data), answer.length_bytes or 0) > MOST_PART_BYTES:
                raise SourceError(f"{self.name}: a picture of more than {MOST_PART_BYTES >> 20} MB.")
        if not data:
            raise SourceAbsentError(f"{self.name}: an empty answer in place of a picture.")
        return bytes(data)
