"""Read a flatbuffer inside its bounds, without a flatbuffers library (tflite-runtime brings none).

Layout: https://flatbuffers.dev/internals/. A table starts with a signed offset back to its vtable, which has the place
of each field in it, 0 for one that is absent.
"""

import struct

import numpy as np
from numpy.typing import NDArray

# A file may name one table from many places, so the work is bounded by count; the largest classifiers have thousands.
_MOST_TABLES = 200_000


class DamageError(Exception):
    """Describe what is wrong with the file, for the message."""


class Table:
    """A table of the file. Whatever would be read from outside of the file raises DamageError."""

    def __init__(self, file: "File", at: int) -> None:
        self._file, self._at = file, at
        file.count()
        vtable = at - file.number("<i", at)
        size, self._length = file.number("<H", vtable), file.number("<H", vtable + 2)
        self._slots: tuple[int, ...] = file.numbers("H", vtable + 4, max(size - 4, 0) // 2)
        if at % 4 or size < 4 or size % 2 or self._length < 4 or at + self._length > len(file.data):
            raise DamageError("a table outside the file")
        if any(slot and not 4 <= slot < self._length for slot in self._slots):
            raise DamageError("a field outside its table")

    def number(self, field: int, kind: str = "<I", default: int = 0) -> int:
        """A scalar field; `kind` as struct has it."""
        slot = self._slot(field)
        if not slot:
            return default
        if slot + struct.calcsize(kind) > self._length:
            raise DamageError("a field outside its table")
        return self._file.number(kind, self._at + slot)

    def numbers(self, field: int, kind: str = "i") -> tuple[int, ...]:
        """A vector of scalars, empty where it is absent."""
        start, count = self._vector(field, struct.calcsize(f"<{kind}"))
        return self._file.numbers(kind, start, count)

    def array(self, field: int, dtype: str) -> NDArray[np.int64]:
        """A vector of many whole numbers."""
        start, count = self._vector(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self._file.data, dtype, count, start).astype(np.int64)

    def count(self, field: int, element_bytes: int) -> int:
        """The length of a vector or string, 0 where it is absent."""
        return self._vector(field, element_bytes)[1]

    def skip(self, field: int, element_bytes: int) -> bool:
        """Verify a vector or string without reading it; whether it is there."""
        self._vector(field, element_bytes)
        return bool(self._slot(field))

    def bytes(self, field: int) -> bytes:
        """A string or a vector of bytes, empty where it is absent."""
        start, count = self._vector(field, 1)
        return self._file.data[start : start + count]

    def place(self, field: int) -> int:
        """Where in the file the elements of a vector begin, 0 where it is absent."""
        return self._vector(field, 1)[0]

    def table(self, field: int) -> "Table | None":
        """The table a field refers to."""
        target = self._follow(field)
        return Table(self._file, target) if target else None

    def tables(self, field: int) -> "list[Table]":
        """A vector of tables, empty where it is absent."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self._file, place + self._file.number("<I", place)) for place in places]

    def plain(self) -> None:
        """Verify a table whose fields are all scalars, of eight bytes at most."""
        if any(self._at + slot + 8 > len(self._file.data) for slot in self._slots):
            raise DamageError("options outside the file")

    def _slot(self, field: int) -> int:
        """Where a field lies in the table, 0 when it is absent."""
        return self._slots[field] if field < len(self._slots) else 0

    def _follow(self, field: int) -> int:
        place = self._slot(field)
        return self._at + place + self.number(field) if place else 0

    def _vector(self, field: int, element_bytes: int) -> tuple[int, int]:
        """Start and length of a vector; it has to lie within the file."""
        place = self._follow(field)
        if not place:
            return 0, 0
        count = self._file.number("<I", place)
        if place % 4 or place + 4 + count * element_bytes > len(self._file.data):
            raise DamageError("a vector outside the file")
        return place + 4, count


class File:
    """The bytes, read only inside their bounds."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._tables = 0

    def number(self, kind: str, at: int) -> int:
        """A scalar at a place; `kind` as struct has it."""
        if not 0 <= at <= len(self.data) - struct.calcsize(kind):
            raise DamageError("an offset outside the file")
        return int(struct.unpack_from(kind, self.data, at)[0])

    def numbers(self, kind: str, at: int, count: int) -> tuple[int, ...]:
        """Scalars one after the other from a place on."""
        if not 0 <= at <= len(self.data) - count * struct.calcsize(f"<{kind}"):
            raise DamageError("an offset outside the file")
        return struct.unpack_from(f"<{count}{kind}", self.data, at)

    def count(self) -> None:
        """Note that one more table is read."""
        self._tables += 1
        if self._tables > _MOST_TABLES:
            raise DamageError(f"more than {_MOST_TABLES} tables")

    def root(self) -> Table:
        """The table that the file begins with."""
        return Table(self, self.number("<I", 0))


def check_indices(indices: "tuple[int, ...] | list[int]", least: int, count: int, kind: str) -> None:
    """Raise DamageError unless each index is `least` or more and below `count`; `kind` says of what."""
    wrong = next((index for index in indices if not least <= index < count), None)
    if wrong is not None:
        raise DamageError(f"{kind} {wrong} of {count}")
