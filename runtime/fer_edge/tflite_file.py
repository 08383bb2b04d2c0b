"""Check a .tflite file and read its metadata, without a flatbuffers library (tflite-runtime brings none).

Layout: https://flatbuffers.dev/internals/ and tensorflow/lite/schema.fbs. A table starts with a signed offset back to
its vtable; the vtable holds its own size, the table's size, then a 16-bit offset for each field, 0 where absent.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from fer_edge.errors import ModelError

_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 2, 4, 6
_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS = 0, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0


def check_complete(data: bytes, where: str) -> None:
    """Raise ModelError unless every weight, tensor and operator the file names lies inside it.

    tflite-runtime does not look, and dies of a segmentation fault on a file that was cut off.
    """
    with _refusing_damage(data, where):
        model = _u32(data, 0)
        for buffer in _vector(data, model, _MODEL_BUFFERS):
            _bytes(data, buffer, _BUFFER_DATA)
        for subgraph in _vector(data, model, _MODEL_SUBGRAPHS):
            for part in (_SUBGRAPH_TENSORS, _SUBGRAPH_OPERATORS):
                for table in _vector(data, subgraph, part):
                    _field(data, table, 0)


def read_metadata(data: bytes, key: str, where: str) -> str | None:
    """The text stored under `key`, or None when the model has no such entry. Raises ModelError on a damaged file."""
    with _refusing_damage(data, where):
        return _find(data, key)


@contextmanager
def _refusing_damage(data: bytes, where: str) -> Iterator[None]:
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{where}: not a TFLite model (no TFL3 mark). Is the download complete?")
    try:
        yield
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ModelError(f"{where}: a damaged TFLite model. Copy or export it again.") from None


def _find(data: bytes, key: str) -> str | None:
    model = _u32(data, 0)
    buffers = _vector(data, model, _MODEL_BUFFERS)
    for entry in _vector(data, model, _MODEL_METADATA):
        if _bytes(data, entry, _METADATA_NAME) == key.encode():
            slot = _field(data, entry, _METADATA_BUFFER)
            index = _u32(data, slot) if slot else 0
            return _bytes(data, buffers[index], _BUFFER_DATA).decode()
    return None


def _u32(data: bytes, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    return int(struct.unpack_from("<I", data, at)[0])


def _field(data: bytes, table: int, index: int) -> int:
    """Position of a table's field, 0 when absent."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    if vtable < 0:
        raise IndexError(vtable)
    size = int(struct.unpack_from("<H", data, vtable)[0])
    entry = 4 + 2 * index
    offset = int(struct.unpack_from("<H", data, vtable + entry)[0]) if entry < size else 0
    return table + offset if offset else 0


def _follow(data: bytes, table: int, index: int) -> int:
    """Position a field's offset points to, 0 when the field is absent."""
    slot = _field(data, table, index)
    return slot + _u32(data, slot) if slot else 0


def _vector(data: bytes, table: int, index: int) -> list[int]:
    """Positions of the tables in a vector field."""
    start = _follow(data, table, index)
    if not start:
        return []
    count = _u32(data, start)
    if count > len(data) // 4:
        raise IndexError(count)
    return [start + 4 + 4 * i + _u32(data, start + 4 + 4 * i) for i in range(count)]


def _bytes(data: bytes, table: int, index: int) -> bytes:
    """Contents of a string or byte-vector field."""
    start = _follow(data, table, index)
    if not start:
        return b""
    count = _u32(data, start)
    if start + 4 + count > len(data):
        raise IndexError(count)
    return data[start + 4 : start + 4 + count]
