"""Reading .npz files of unknown origin: no pickles, no more memory than the file is worth."""

import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import FerEdgeError
from fer_edge.files import open_regular

# Arrays of pictures do not shrink twentyfold; what claims to is a file made to fill the memory.
_FREE_BYTES, _GREATEST_RATIO = 1 << 26, 20
_MOST_ARRAYS = 64


def read_arrays(path: Path, error: type[FerEdgeError], *, what: str, remedy: str) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name. Raises `error`: "PATH: not WHAT (REASON). REMEDY"."""
    with open_regular(path, error) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                _check_sizes(archive, os.fstat(stream.fileno()).st_size)
                return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
        except Exception as problem:  # zipfile and numpy raise whatever a damaged file makes them trip over
            reason = " ".join(str(problem).split())[:200] or type(problem).__name__
            raise error(f"{path}: not {what} ({reason}). {remedy}") from None


def _check_sizes(archive: zipfile.ZipFile, file_bytes: int) -> None:
    members = archive.infolist()
    claimed_bytes = sum(member.file_size for member in members)
    if len(members) > _MOST_ARRAYS:
        raise ValueError(f"{len(members)} arrays, expected {_MOST_ARRAYS} at most")
    if claimed_bytes > max(_FREE_BYTES, _GREATEST_RATIO * file_bytes):
        raise ValueError(f"{claimed_bytes >> 20} MB unpacked out of {file_bytes >> 10} kB")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        _check_header(stream, member.file_size)  # type: ignore[arg-type]
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _check_header(stream: BinaryIO, size_bytes: int) -> None:
    """See that an array is as large as its header says: numpy allocates first, and reads then."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"array format {version[0]}.{version[1]}")
    shape, _, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size_bytes - stream.tell():
        raise ValueError(f"an array of shape {shape[:8]} that does not have its size")
