"""Open a .tflite from elsewhere: weights in eight or sixteen bits are widened, and what it computes is float."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import sha256_of

from export.adopt.network import (
    Hints,
    Network,
    TensorFacts,
    chosen_output,
    counted,
    first_line,
    layout_of,
    require_scores,
    with_classes,
)
from export.metadata import read_tflite, write_tflite
from export.tflite_model import operator_name

_STORED = {schema.TensorType.INT8: np.int8, schema.TensorType.FLOAT16: np.float16}


def read_tflite_network(path: Path, hints: Hints) -> Network:
    """The network in a float .tflite. Raises ModelError for what cannot be adopted, UsageError for a wrong hint."""
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelError(f"{path}: not a TFLite file, which has TFL3 at its start. Copy or export it again.")
    try:
        content, widened = widen(content)
        interpreter = _interpreter(content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # native code and the flatbuffer library raise what they like
        raise ModelError(f"{path}: LiteRT refuses it ({first_line(error)}). Copy or export it again.") from None
    entries, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(entries) != 1:
        raise ModelError(f"{path}: {len(entries)} inputs, expected one picture.")
    entry = _facts(entries[0])
    if entry.dtype not in ("float32", "uint8"):
        raise ModelError(f"{path}: input {entry}, expected float32 or uint8 pixels. Export it so.")
    _require_size(entries[0], hints, str(path))
    named = tuple(_facts(output) for output in outputs)
    output = chosen_output(named, hints.output, str(path), classes=hints.classes)
    require_scores(output, str(path))
    if len(output.shape) < 2 or entry.shape[:1] != (1,):
        raise ModelError(
            f"{path}: input {entry}, output {output}, expected one face and (1, classes). Export it with a batch of 1."
        )
    index = outputs[named.index(output)]["index"]

    def run(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = []
        for face in faces.astype(entry.dtype):
            interpreter.set_tensor(entries[0]["index"], face[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(index).reshape(-1))
        return np.stack(rows)

    model = read_tflite(content)
    kinds = Counter(operator_name(model, operator) for operator in model.subgraphs[0].operators)
    return Network(
        source=str(path),
        sha256=sha256_of(path),
        input=entry,
        output=with_classes(output, run, entry),
        outputs=named,
        layout=layout_of(entry.shape, str(path)),
        run=run,
        tflite=content,
        facts=counted(kinds) + (f", {widened} weights widened to float32" if widened else ""),
    )


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _require_size(details: dict[str, Any], hints: Hints, where: str) -> None:
    """Height and width must be those of --size. Raises UsageError."""
    entry = _facts(details)
    sides = entry.shape[2:4] if layout_of(entry.shape, where) == "NCHW" else entry.shape[1:3]
    if hints.size_px is not None and sides != hints.size_px:
        raise UsageError(f"--size {hints.size_px[0]}x{hints.size_px[1]}: {where} takes {entry}. Leave --size out.")


def _facts(details: dict[str, Any]) -> TensorFacts:
    shape = tuple(int(size) for size in details["shape"])
    return TensorFacts(str(details["name"]), np.dtype(details["dtype"]).name, shape)


def widen(content: bytes) -> tuple[bytes, int]:
    """The .tflite with every weight in float32, and how many were not: stored in int8 with a scale, or in float16.

    Raises ModelError where more than weights is quantized, or the size of a picture is left open.
    """
    model = read_tflite(content)
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"{len(model.subgraphs)} subgraphs, expected one: a single signature, no loops and no branches."
        )
    graph, widened = model.subgraphs[0], 0
    signatures = [graph.tensors[index].shapeSignature for index in graph.inputs]
    if any(size < 0 for signature in signatures if signature is not None for size in signature[1:]):
        raise ModelError("takes pictures of any size, expected a fixed one. Export it with a fixed size.")
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        scaled = tensor.quantization is not None and tensor.quantization.scale is not None
        if data is None or len(data) == 0:
            if scaled:
                raise ModelError("already quantized. Give the float model that it was made from.")
        elif tensor.type == schema.TensorType.FLOAT16 or (tensor.type == schema.TensorType.INT8 and scaled):
            _widen(model, tensor, np.asarray(data, dtype=np.uint8).tobytes())
            widened += 1
    if not widened:
        return content, 0
    _drop_dequantize(model)
    _empty_unread_buffers(model)
    return write_tflite(model), widened


def _widen(model: Any, tensor: Any, data: bytes) -> None:
    """Give a constant its float values: scale * (stored - zero point), by channel."""
    shape = [int(size) for size in tensor.shape]
    values = np.frombuffer(data, dtype=_STORED[tensor.type]).reshape(shape).astype(np.float32)
    if tensor.type == schema.TensorType.INT8:
        quantization = tensor.quantization
        scale, zero = np.array(quantization.scale, np.float32), np.array(quantization.zeroPoint, np.float32)
        along = [1] * len(shape)
        along[quantization.quantizedDimension if len(scale) > 1 else 0] = len(scale)
        values = (values - zero.reshape(along)) * scale.reshape(along)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype("<f4").tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, schema.TensorType.FLOAT32, None


def _empty_unread_buffers(model: Any) -> None:
    """Empty what no tensor and no metadata reads: the weights as they were stored."""
    read = {tensor.buffer for tensor in model.subgraphs[0].tensors} | {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in read:
            buffer.data = None


def _drop_dequantize(model: Any) -> None:
    """Let the readers of a DEQUANTIZE whose input is float32 by now read that input."""
    graph = model.subgraphs[0]
    same = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators
        if operator_name(model, operator) == "dequantize"
        and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
    }
    graph.operators = [operator for operator in graph.operators if int(operator.outputs[0]) not in same]
    for operator in graph.operators:
        operator.inputs = [same.get(int(index), int(index)) for index in operator.inputs]
