"""Verify a .tflite file, and read its metadata and sizes, without a flatbuffers library.

The numbers of the fields are those of tensorflow/lite/schema/schema.fbs.
"""

import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError
from fer_edge.flatbuffer import DamageError, File, Table, check_indices

_TRAVERSAL, _BLOCK_MAP, _DIMENSIONS = range(3)
_FORMAT, _DENSE_SIZE, _SEGMENTS, _INDICES = 0, 1, 3, 5
_DENSE = 0
_UNION_KINDS = {1: "<i4", 2: "<u2", 3: "u1"}
_VERSION = 3
_MODEL = {"version": 0, "operator_codes": 1, "subgraphs": 2, "description": 3, "buffers": 4, "metadata_buffer": 5}
_MODEL |= {"metadata": 6, "signature_defs": 7, "external_groups": 8, "external_buffers": 9}
_CODE_DEPRECATED, _CODE_CUSTOM, _CODE_VERSION, _CODE_BUILTIN = range(4)
_SUBGRAPH_TENSORS, _SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS, _SUBGRAPH_NAME = range(5)
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTIZATION = range(5)
_TENSOR_SPARSITY, _TENSOR_SIGNATURE, _TENSOR_VARIANTS, _TENSOR_EXTERNAL = 6, 7, 9, 10
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_TYPE, _OPERATOR_OPTIONS, _OPERATOR_CUSTOM = range(6)
_OPERATOR_MUTATING, _OPERATOR_INTERMEDIATES, _OPERATOR_LARGE_OFFSET, _OPERATOR_LARGE_SIZE = 7, 8, 9, 10
_OPERATOR_TYPE_2, _OPERATOR_OPTIONS_2 = 11, 12
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = range(3)
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_KEY, _SIGNATURE_SUBGRAPH = 0, 1, 2, 4
_MAP_NAME, _MAP_TENSOR = 0, 1
_MOST_DIMENSIONS = 8
_INT32 = 2
_GREATEST_CODE = 300
_CUSTOM_CODE = 32
# How many inputs an operator cannot do without, where it can do without others: a bias, gates and weights of an LSTM.
# By number: CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, CONV_3D, SVDF, TRANSPOSE_CONV, CONV_3D_TRANSPOSE, RNNs, LSTMs.
_NEEDED_INPUTS = {3: 2, 4: 2, 9: 2, 132: 2, 27: 3, 67: 3, 141: 3, 24: 3, 35: 3, 46: 3, 16: 1, 44: 1, 52: 1}

# Options that hold vectors or strings, by their number in the unions BuiltinOptions and BuiltinOptions2: the bytes of
# an element by field. Every other option is a plain number.
_OPTIONS = {3: {1: 4, 2: 4}, 17: {0: 4}, 30: {0: 4}, 111: {0: 1, 1: 1}, 115: {0: 4}}
_OPTIONS_2 = {
    2: {0: 8},
    3: {0: 8, 1: 8, 2: 8},
    4: {0: 8, 1: 8, 2: 8, 3: 8, 4: 1, 7: 8, 10: 8, 13: 8, 16: 4},
    5: {0: 1, 2: 1, 4: 4, 5: 1},
    6: {0: 8},
    7: {1: 8, 2: 8, 3: 8},
    9: {0: 8},
    10: {0: 8, 1: 8, 2: 8},
    12: {0: 8, 1: 8, 2: 8, 3: 8, 4: 4},
    13: {0: 8, 1: 8, 2: 8, 3: 8, 4: 8},
    16: {0: 8, 1: 8, 2: 8},
    17: {0: 8},
    21: {0: 1, 2: 1},
    23: {0: 4},
}
# Of tensors that are not stored: what a small board could never hold is refused at once, and so is what interpreters
# would take minutes to lay out.
_MOST_ELEMENTS, _MOST_ELEMENTS_OF_ONE = 1 << 27, 1 << 24


def verify(data: bytes, where: str) -> None:
    """Raise ModelError unless all that the file names lies inside it, and every index of it exists.

    Interpreters look little, or not at all (tflite-runtime), and die of a segmentation fault. Refused as well: custom
    operators, whose options only they could verify, and tensors that no board could hold.
    """
    with _refusing_damage(data, where):
        model = File(data).root()
        if (version := model.number(_MODEL["version"])) != _VERSION:
            raise DamageError(f"schema {version}, expected {_VERSION}")
        buffers = model.tables(_MODEL["buffers"])
        codes = model.tables(_MODEL["operator_codes"])
        subgraphs = model.tables(_MODEL["subgraphs"])
        if not buffers or not subgraphs:
            raise DamageError("no buffers or no subgraphs")
        for buffer in buffers:
            _verify_buffer(buffer, len(data))
        for code in codes:
            _verify_code(code)
        counts = [_verify_subgraph(subgraph, buffers, codes, len(data)) for subgraph in subgraphs]
        _verify_names(model, counts, len(buffers))


def read_metadata(data: bytes, key: str, where: str) -> str | None:
    """The text stored under `key`, or None when the model has no such entry. Raises ModelError on a damaged file."""
    with _refusing_damage(data, where):
        model = File(data).root()
        for entry in model.tables(_MODEL["metadata"]):
            if entry.bytes(_METADATA_NAME) == key.encode():
                buffer = model.tables(_MODEL["buffers"])[entry.number(_METADATA_BUFFER)]
                return buffer.bytes(_BUFFER_DATA).decode()
    return None


def input_shape(data: bytes, where: str) -> tuple[int, ...]:
    """Shape of the first input, () where there is none. Raises ModelError on a damaged file."""
    verify(data, where)
    with _refusing_damage(data, where):
        graph = File(data).root().tables(_MODEL["subgraphs"])[0]
        inputs = graph.numbers(_SUBGRAPH_INPUTS)
        return graph.tables(_SUBGRAPH_TENSORS)[inputs[0]].numbers(_TENSOR_SHAPE) if inputs else ()


def with_sizes(data: bytes, where: str, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> bytes:
    """The file with tensors of other sizes. Raises ModelError on a damaged file.

    `change` gives the new shape of every tensor whose values are not stored, and the new values of every stored pair
    of int32, as RESIZE reads its target size from; each as long as the old one.
    """
    verify(data, where)
    changed = bytearray(data)
    with _refusing_damage(data, where):
        model = File(data).root()
        buffers = model.tables(_MODEL["buffers"])
        tensors = [one for graph in model.tables(_MODEL["subgraphs"]) for one in graph.tables(_SUBGRAPH_TENSORS)]
        for tensor in tensors:
            for start, old in _sizes_of(tensor, buffers[tensor.number(_TENSOR_BUFFER)]):
                new = change(old)
                if not all(-(2**31) <= size < 2**31 for size in new):
                    raise DamageError("a size out of range")
                struct.pack_into(f"<{len(old)}i", changed, start, *new)
    return bytes(changed)


def _sizes_of(tensor: Table, buffer: Table) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where in the file sizes of a tensor stand, and what they are; see `with_sizes`."""
    if not buffer.count(_BUFFER_DATA, 1):
        for field in (_TENSOR_SHAPE, _TENSOR_SIGNATURE):
            if sizes := tensor.numbers(field):
                yield tensor.place(field), sizes
    elif tensor.number(_TENSOR_TYPE, "<b") == _INT32 and tensor.numbers(_TENSOR_SHAPE) == (2,):
        values = buffer.bytes(_BUFFER_DATA)
        if len(values) == struct.calcsize("<2i"):
            yield buffer.place(_BUFFER_DATA), struct.unpack("<2i", values)


@contextmanager
def _refusing_damage(data: bytes, where: str) -> Iterator[None]:
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(f"{where}: not a TFLite model (no TFL3 mark). Is the download complete?")
    try:
        yield
    except DamageError as problem:
        raise ModelError(f"{where}: a damaged TFLite model ({problem}). Copy or export it again.") from None
    except UnicodeDecodeError:
        raise ModelError(f"{where}: a damaged TFLite model (metadata is not UTF-8). Copy or export it again.") from None


def _verify_buffer(buffer: Table, size_bytes: int) -> None:
    buffer.skip(_BUFFER_DATA, 1)
    # Weights of a file above 2 GB stand behind the flatbuffer.
    if buffer.number(_BUFFER_OFFSET, "<Q") + buffer.number(_BUFFER_SIZE, "<Q") > size_bytes:
        raise DamageError("a buffer outside the file")


def _builtin(code: Table) -> int:
    return max(code.number(_CODE_DEPRECATED, "<b"), code.number(_CODE_BUILTIN, "<i"))


def _verify_code(code: Table) -> None:
    code.number(_CODE_VERSION, "<i")
    number = _builtin(code)
    if code.skip(_CODE_CUSTOM, 1) or number == _CUSTOM_CODE:
        raise DamageError(f"custom operator {code.bytes(_CODE_CUSTOM)[:40]!r}, expected TFLite's own operators alone")
    if not 0 <= number <= _GREATEST_CODE:
        raise DamageError(f"operator {number} is unknown")


def _verify_subgraph(subgraph: Table, buffers: list[Table], codes: list[Table], size_bytes: int) -> int:
    """The number of its tensors."""
    tensors = subgraph.tables(_SUBGRAPH_TENSORS)
    elements = sum(_verify_tensor(tensor, buffers) for tensor in tensors)
    if elements > _MOST_ELEMENTS:
        raise DamageError(f"tensors of {elements >> 20} million elements, expected {_MOST_ELEMENTS >> 20} at most")
    subgraph.skip(_SUBGRAPH_NAME, 1)
    for field in (_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS):
        check_indices(subgraph.numbers(field), 0, len(tensors), "tensor")
    for operator in subgraph.tables(_SUBGRAPH_OPERATORS):
        _verify_operator(operator, len(tensors), codes, size_bytes)
    return len(tensors)


def _verify_tensor(tensor: Table, buffers: list[Table]) -> int:
    """The number of elements it takes memory for beside what the file stores, one for a dimension that may vary."""
    shape = tensor.numbers(_TENSOR_SHAPE)
    tensor.numbers(_TENSOR_SIGNATURE)
    tensor.skip(_TENSOR_NAME, 1)
    buffer = tensor.number(_TENSOR_BUFFER)
    check_indices([buffer], 0, len(buffers), "buffer")
    if tensor.number(_TENSOR_EXTERNAL):
        raise DamageError("weights in another file")
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    if quantization is not None:
        _verify_quantization(quantization, len(shape))
    if tensor.tables(_TENSOR_VARIANTS):
        raise DamageError("variant tensors, which fer-edge does not run")
    if len(shape) > _MOST_DIMENSIONS or (shape and min(shape) < -1):
        raise DamageError(f"a tensor of shape {shape[:_MOST_DIMENSIONS]}")
    sparsity = tensor.table(_TENSOR_SPARSITY)
    if sparsity is not None:
        verify_sparsity(sparsity, shape, _MOST_ELEMENTS)
    elif buffers[buffer].count(_BUFFER_DATA, 1):
        return 0  # interpreters compare its shape with its bytes
    elements = math.prod(max(size, 1) for size in shape)
    if elements > _MOST_ELEMENTS_OF_ONE:
        raise DamageError(
            f"a tensor of {elements >> 20} million elements, expected {_MOST_ELEMENTS_OF_ONE >> 20} at most"
        )
    return elements


def _verify_quantization(quantization: Table, rank: int) -> None:
    for field, kind in ((0, "f"), (1, "f"), (2, "f"), (3, "q")):
        quantization.numbers(field, kind)
    if quantization.number(4, "<B") or quantization.table(5) is not None:
        raise DamageError("quantization of a kind that fer-edge does not run")
    scales, zero_points = (len(quantization.numbers(field, kind)) for field, kind in ((2, "f"), (3, "q")))
    if scales and zero_points not in (0, scales):
        raise DamageError(f"{scales} scales with {zero_points} zero points")
    check_indices([quantization.number(6, "<i")], 0, max(rank, 1), "quantized dimension")


def _verify_operator(operator: Table, tensors: int, codes: list[Table], size_bytes: int) -> None:
    code = operator.number(_OPERATOR_CODE)
    check_indices([code], 0, len(codes), "operator code")
    # -1 stands for an optional input that is not given, such as the bias of a convolution.
    inputs = operator.numbers(_OPERATOR_INPUTS)
    needed = _NEEDED_INPUTS.get(_builtin(codes[code]), len(inputs))
    check_indices(inputs[:needed], 0, tensors, "tensor")
    check_indices(inputs[needed:], -1, tensors, "tensor")
    check_indices(operator.numbers(_OPERATOR_OUTPUTS), 0, tensors, "tensor")
    check_indices(operator.numbers(_OPERATOR_INTERMEDIATES), -1, tensors, "tensor")
    operator.skip(_OPERATOR_CUSTOM, 1)
    operator.skip(_OPERATOR_MUTATING, 1)
    if operator.number(_OPERATOR_LARGE_OFFSET, "<Q") + operator.number(_OPERATOR_LARGE_SIZE, "<Q") > size_bytes:
        raise DamageError("options outside the file")
    for type_field, field, known in (
        (_OPERATOR_TYPE, _OPERATOR_OPTIONS, _OPTIONS),
        (_OPERATOR_TYPE_2, _OPERATOR_OPTIONS_2, _OPTIONS_2),
    ):
        options = operator.table(field)
        if options is not None:
            options.plain()
            for part, element_bytes in known.get(operator.number(type_field, "<B"), {}).items():
                options.skip(part, element_bytes)


def _verify_names(model: Table, tensors: list[int], buffers: int) -> None:
    """Metadata and signatures: each has a name, and the buffer, subgraph or tensor it names exists."""
    model.skip(_MODEL["description"], 1)
    check_indices(model.numbers(_MODEL["metadata_buffer"]), 0, buffers, "buffer")
    if model.tables(_MODEL["external_groups"]) or model.tables(_MODEL["external_buffers"]):
        raise DamageError("weights in another file")
    for entry in model.tables(_MODEL["metadata"]):
        if not entry.skip(_METADATA_NAME, 1):
            raise DamageError("metadata without a name")
        check_indices([entry.number(_METADATA_BUFFER)], 0, buffers, "buffer")
    for signature in model.tables(_MODEL["signature_defs"]):
        subgraph = signature.number(_SIGNATURE_SUBGRAPH)
        check_indices([subgraph], 0, len(tensors), "subgraph")
        maps = [*signature.tables(_SIGNATURE_INPUTS), *signature.tables(_SIGNATURE_OUTPUTS)]
        if not signature.skip(_SIGNATURE_KEY, 1) or not all(one.skip(_MAP_NAME, 1) for one in maps):
            raise DamageError("a signature without a name")
        check_indices([one.number(_MAP_TENSOR) for one in maps], 0, tensors[subgraph], "tensor")


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
