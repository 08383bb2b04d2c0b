"""Verify the index lists of a sparse tensor in a .tflite file."""

import numpy as np
from numpy.typing import NDArray

from fer_edge.flatbuffer import DamageError, Table, check_indices

_TRAVERSAL, _BLOCK_MAP, _DIMENSIONS = range(3)
_FORMAT, _DENSE_SIZE, _SEGMENTS, _INDICES = 0, 1, 3, 5
_DENSE = 0
_UNION_KINDS = {1: "<i4", 2: "<u2", 3: "u1"}


def verify_sparsity(sparsity: Table, shape: tuple[int, ...], most_entries: int) -> None:
    """Raise DamageError for lists that lead out of the tensor: unpacking it writes to wherever they say.

    The format is TACO's (Kjolstad et al., 2017): dimensions in the order of `traversal`, first those of the tensor, in
    blocks where `blocked` names them, then those inside a block; each dense, or compressed to segments of indices.
    """
    traversal, blocked = (sparsity.numbers(field) for field in (_TRAVERSAL, _BLOCK_MAP))
    dimensions = sparsity.tables(_DIMENSIONS)
    if sorted(traversal) != list(range(len(shape) + len(blocked))) or len(dimensions) != len(traversal):
        raise DamageError("sparse dimensions that do not fit the tensor")
    check_indices(blocked, 0, len(shape), "blocked dimension")
    entries = 1
    for place, dimension in zip(traversal, dimensions, strict=True):
        if dimension.number(_FORMAT, "<b") == _DENSE:
            entries *= dimension.number(_DENSE_SIZE, "<i")
        else:
            entries = _verify_compressed(dimension, entries, shape[place] if place < len(shape) else 0)
        if not 0 <= entries <= most_entries:
            raise DamageError("sparse dimensions that do not fit the tensor")


def _verify_compressed(dimension: Table, parents: int, size: int) -> int:
    """The number of entries of a compressed dimension of `size` below `parents` entries."""
    segments, indices = (_union(dimension, field) for field in (_SEGMENTS, _INDICES))
    if (
        len(segments) != parents + 1
        or segments[0] != 0
        or segments[-1] != len(indices)
        or (np.diff(segments) < 0).any()
    ):
        raise DamageError("sparse segments that do not fit the tensor")
    if len(indices):
        check_indices([int(indices.min()), int(indices.max())], 0, size, "sparse index")
    return len(indices)


def _union(dimension: Table, field: int) -> NDArray[np.int64]:
    """A vector of int32, uint16 or uint8, in a table of its own; its type stands in the field before."""
    vector = dimension.table(field)
    kind = _UNION_KINDS.get(dimension.number(field - 1, "<B"))
    if vector is None or kind is None:
        raise DamageError("a sparse dimension without indices")
    return vector.array(0, kind)
