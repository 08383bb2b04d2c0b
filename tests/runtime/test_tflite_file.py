"""The verifier of .tflite files: what an interpreter would die of is refused before it sees it."""

import struct
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.contract import METADATA_KEY
from fer_edge.errors import ModelError
from fer_edge.tflite_file import read_metadata, verify

from tests.fuzz.models import packed, tiny_tflite, unpacked


@pytest.fixture
def model() -> schema.ModelT:
    return unpacked(tiny_tflite("int8"))


def test_metadata_is_read_without_a_flatbuffers_library(default_model: Path) -> None:
    data = default_model.read_bytes()
    assert '"schema_version": 1' in (read_metadata(data, METADATA_KEY, "model") or "")
    assert read_metadata(data, "no such key", "model") is None


@pytest.mark.parametrize("name", ["default_model", "mediapipe_file"])
def test_whole_models_pass_dense_and_sparse(name: str, request: pytest.FixtureRequest) -> None:
    verify(request.getfixturevalue(name).read_bytes(), "model")


def test_a_model_without_subgraphs_is_refused(default_model: Path) -> None:
    """One byte in the vtable makes the field absent, which interpreters take for granted."""
    data = bytearray(default_model.read_bytes())
    vtable = struct.unpack_from("<I", data)[0] - struct.unpack_from("<i", data, struct.unpack_from("<I", data)[0])[0]
    struct.pack_into("<H", data, vtable + 4 + 2 * 2, 0)
    with pytest.raises(ModelError, match="no buffers or no subgraphs"):
        verify(bytes(data), "model")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("version", 2, "schema 2, expected 3"),
        ("subgraphs", None, "no buffers or no subgraphs"),
        ("subgraphs", [], "no buffers or no subgraphs"),
        ("buffers", None, "no buffers or no subgraphs"),
        ("operatorCodes", None, "operator code 0 of 0"),
        ("operatorCodes.0.builtinCode", 5000, "operator 5000 is unknown"),
        ("operatorCodes.0.builtinCode", 32, "custom operator"),
        ("operatorCodes.0.customCode", "Flex", "custom operator b'Flex'"),
        ("subgraphs.0.inputs", [99], "tensor 99 of"),
        ("subgraphs.0.outputs", [-1], "tensor -1 of"),
        ("subgraphs.0.tensors.0.buffer", 10**6, "buffer 1000000 of"),
        ("subgraphs.0.tensors.0.shape", [2**30, 2**30], "million elements"),
        ("subgraphs.0.tensors.0.shape", [1, -5], r"a tensor of shape \(1, -5\)"),
        ("subgraphs.0.tensors.0.shape", [1] * 9, "a tensor of shape"),
        ("subgraphs.0.tensors.1.quantization.zeroPoint", [1, 2, 3], "1 scales with 3 zero points"),
        ("subgraphs.0.tensors.1.quantization.quantizedDimension", 9, "quantized dimension 9 of"),
        ("subgraphs.0.operators.0.opcodeIndex", 7, "operator code 7 of"),
        ("subgraphs.0.operators.0.inputs", [0, 1, 2000], "tensor 2000 of"),
        ("subgraphs.0.operators.0.outputs", [-2], "tensor -2 of"),
        ("subgraphs.0.operators.0.intermediates", [77], "tensor 77 of"),
        ("subgraphs.0.operators.0.largeCustomOptionsSize", 10**9, "options outside the file"),
        ("buffers.1.size", 10**9, "a buffer outside the file"),
        ("metadata.0.name", None, "metadata without a name"),
        ("metadata.0.buffer", 500, "buffer 500 of"),
        ("signatureDefs.0.subgraphIndex", 3, "subgraph 3 of 1"),
        ("signatureDefs.0.signatureKey", None, "a signature without a name"),
        ("signatureDefs.0.inputs.0.tensorIndex", 42, "tensor 42 of"),
    ],
)
def test_every_index_and_every_required_field_is_looked_at(
    model: schema.ModelT, place: str, value: Any, message: str
) -> None:
    *way, last = place.split(".")
    target: Any = model
    for step in way:
        target = target[int(step)] if step.isdigit() else getattr(target, step)
    setattr(target, last, value)
    with pytest.raises(ModelError, match=f"model: a damaged TFLite model .*{message}"):
        verify(packed(model), "model")


@pytest.mark.parametrize(
    ("indices", "message"), [([0, 9], "sparse index 9 of 4"), ([0], "sparse segments"), ([0, -1], "sparse index -1")]
)
def test_the_indices_of_a_sparse_tensor_are_looked_at(model: schema.ModelT, indices: list[int], message: str) -> None:
    """Unpacking writes to wherever they say."""
    dense, sparse = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    dense.format, dense.denseSize = 0, 2
    sparse.format, sparse.arraySegmentsType, sparse.arrayIndicesType = 1, 1, 1
    sparse.arraySegments, sparse.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
    sparse.arraySegments.values, sparse.arrayIndices.values = [0, 1, 2], [1, 3]
    tensor = model.subgraphs[0].tensors[1]
    tensor.shape, tensor.quantization, tensor.sparsity = [2, 4], None, schema.SparsityParametersT()
    tensor.sparsity.traversalOrder, tensor.sparsity.dimMetadata = [0, 1], [dense, sparse]
    verify(packed(model), "model")
    sparse.arrayIndices.values = indices
    with pytest.raises(ModelError, match=message):
        verify(packed(model), "model")


def test_a_file_that_names_one_table_from_everywhere_is_refused_in_good_time() -> None:
    """Ten thousand subgraphs that are one, of ten thousand tensors that are one: a file of 80 kB, a day to walk."""
    builder = flatbuffers.Builder(1024)

    def table(fields: dict[int, int]) -> int:
        builder.StartObject(5)
        for field, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(field, offset, 0)
        return int(builder.EndObject())

    def repeated(offset: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    subgraph = table({0: repeated(table({}), 10_000)})
    subgraphs, buffers = repeated(subgraph, 10_000), repeated(table({}), 1)
    builder.StartObject(5)
    builder.PrependUint32Slot(0, 3, 0)
    for field, offset in ((2, subgraphs), (4, buffers)):
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    with pytest.raises(ModelError, match="more than 200000 tables"):
        verify(bytes(builder.Output()), "model")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tail: bytes) -> None:
    for job in (verify, lambda data, where: read_metadata(data, METADATA_KEY, where)):
        try:
            job(b"\x10\0\0\0TFL3" + tail, "model")
        except ModelError as error:
            assert str(error).startswith("model: ")
