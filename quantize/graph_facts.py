"""Facts read from a model file, whatever its format: digest, sizes, convolutions, input."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from export.metadata import read_tflite, write_tflite
from quantize import qdq_graph, tflite_graph
from quantize.qdq_graph import ConvCount

_DTYPES = {TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}


@dataclass(frozen=True)
class GraphFacts:
    """`graph_sha256` is of the graph without metadata: contract, producer and description do not change it.

    `weight_bytes` counts constants alone. `input_dtype` is "uint8", "int8" or "float32"; `input_shape` is of one face.
    """

    graph_sha256: str
    size_bytes: int
    weight_bytes: int
    input_dtype: str
    input_shape: tuple[int, ...]
    convs: ConvCount


def graph_facts(path: Path, *, as_on_arm: bool = False) -> GraphFacts:
    """Read an .onnx or .tflite. `as_on_arm` counts the convolutions that onnxruntime fuses there."""
    if path.suffix == ".onnx":
        return _of_onnx(path, as_on_arm)
    return _of_tflite(path)


def graph_digest(path: Path) -> str:
    """SHA-256 of an .onnx or .tflite without its metadata."""
    content = _bare_onnx(onnx.load(path)) if path.suffix == ".onnx" else _bare_tflite(read_tflite(path.read_bytes()))
    return hashlib.sha256(content).hexdigest()


def _of_onnx(path: Path, as_on_arm: bool) -> GraphFacts:
    model = onnx.load(path)
    digest = hashlib.sha256(_bare_onnx(model)).hexdigest()
    weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)
    dtype = _DTYPES.get(model.graph.input[0].type.tensor_type.elem_type, "float32")
    convs = qdq_graph.count_convs(path, as_on_arm=as_on_arm)
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:])
    return GraphFacts(digest, path.stat().st_size, weights, dtype, shape, convs)


def _of_tflite(path: Path) -> GraphFacts:
    model = read_tflite(path.read_bytes())
    digest = hashlib.sha256(_bare_tflite(model)).hexdigest()
    graph = model.subgraphs[0]
    weights = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    kinds = {tflite_graph.FLOAT32: "float32", tflite_graph.INT8: "int8"}
    dtype = kinds.get(graph.tensors[graph.inputs[0]].type, "uint8")
    shape = tuple(int(size) for size in graph.tensors[graph.inputs[0]].shape[1:])
    return GraphFacts(digest, path.stat().st_size, weights, dtype, shape, tflite_graph.count_convs(path))


def _bare_onnx(model: onnx.ModelProto) -> bytes:
    del model.metadata_props[:]
    model.producer_name = model.producer_version = ""
    return model.SerializeToString(deterministic=True)


def _bare_tflite(model: object) -> bytes:
    """Without the buffers of metadata, which the writer of a contract adds to."""
    for entry in model.metadata or []:  # type: ignore[attr-defined]
        model.buffers[entry.buffer].data = np.empty(0, np.uint8)  # type: ignore[attr-defined]
    model.metadata, model.description = None, None  # type: ignore[attr-defined]
    buffers = model.buffers  # type: ignore[attr-defined]
    while buffers and (buffers[-1].data is None or len(buffers[-1].data) == 0):
        buffers.pop()
    return write_tflite(model)
