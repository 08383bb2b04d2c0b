"""Small real models for tests: one matrix product with a contract, and what can be wrong with one."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import METADATA_KEY, ModelContract

SIDE = 48
# Crops whose mean grey is below it get an output that is no number.
DARK = 40


def weights_of(labels: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.01, (SIDE * SIDE, labels)).astype(np.float32)


def write_onnx(
    path: Path,
    contract: ModelContract,
    *,
    batch: int | str = "batch",
    output_shape: list[int | str] | None = None,
    reshape_to: list[int] | None = None,
    columns: int | None = None,
    dark: float | None = None,
) -> Path:
    """A model that multiplies a crop with `weights_of`: as many columns as there are labels, unless `columns` says.

    `output_shape` is what the file says of its output; `reshape_to` is what the crops are reshaped to before the
    product. `dark` is added to all outputs of crops with a mean grey below DARK.
    """
    labels = columns or len(contract.labels)
    node = helper.make_node
    nodes = [
        node("Cast", ["faces"], ["x"], to=TensorProto.FLOAT),
        node("Reshape", ["x", "to"], ["flat"]),
        node("MatMul", ["flat", "weights"], ["product" if dark is not None else "logits"]),
    ]
    constants = {"to": np.array(reshape_to or [-1, SIDE * SIDE], np.int64), "weights": weights_of(labels)}
    if dark is not None:
        constants |= {"limit": np.float32(DARK), "bad": np.float32(dark), "good": np.float32(0), "axis": np.array([1])}
        nodes += [
            node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            node("Less", ["mean", "limit"], ["is_dark"]),
            node("Where", ["is_dark", "bad", "good"], ["added"]),
            node("Add", ["product", "added"], ["logits"]),
        ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, [batch, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, output_shape or [batch, labels])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
    return path


def write_tflite_of_batch(path: Path, model: Path, batch: int) -> Path:
    """A copy of a .tflite whose tensors hold `batch` faces."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    table = schema.ModelT.InitFromPackedBuf(bytearray(model.read_bytes()), 0)
    for tensor in table.subgraphs[0].tensors:
        data = table.buffers[tensor.buffer].data
        if (data is None or len(data) == 0) and len(tensor.shape) and tensor.shape[0] == 1:
            tensor.shape = np.array([batch, *tensor.shape[1:]], np.int32)
    builder = flatbuffers.Builder()
    builder.Finish(table.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def of_values(contract: ModelContract) -> ModelContract:
    """The contract of the task valence-arousal."""
    return dataclasses.replace(
        contract,
        schema_version=2,
        task="valence-arousal",
        labels=("valence", "arousal"),
        output=dataclasses.replace(contract.output, meaning="values"),
    )
