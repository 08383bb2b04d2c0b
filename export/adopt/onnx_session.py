"""onnxruntime's sessions of a network from elsewhere, and what it says of their tensors."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fer_edge.errors import ModelError

from export.adopt.network import TensorFacts, first_line
from export.onnx_model import OPSET

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}


def session_of(content: bytes, where: str) -> onnxruntime.InferenceSession:
    """A session on the CPU, without a word on the terminal. Raises ModelError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        if newest := re.search(r"till opset (\d+)", str(error)):
            raise ModelError(f"{where}: a newer opset than {newest[1]}. Export it again with opset {OPSET}.") from None
        raise ModelError(f"{where}: onnxruntime refuses it ({first_line(error)}). Export it again.") from None


def runner_of(
    session: onnxruntime.InferenceSession, output: str, *, one: bool = False
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The session as a function of faces, which get to it in batches of the size it takes; with `one`, singly."""
    entry = session.get_inputs()[0]
    dtype = np.dtype(facts_of(entry).dtype)
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) and entry.shape[0] > 0 else None
    batch = fixed or (1 if one else None)

    def run(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(faces), batch or 32):
            part = faces[start : start + (batch or 32)]
            filled = part if batch is None else np.resize(part, (batch, *part.shape[1:]))
            parts.append(session.run([output], {entry.name: filled.astype(dtype)})[0][: len(part)])
        return np.concatenate(parts).reshape(len(faces), -1).astype(np.float32)

    return run


def facts_of(entry: Any) -> TensorFacts:
    """Name, type and shape of an input or output; -1 for a size that is open."""
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in entry.shape)
    return TensorFacts(entry.name, _TYPES.get(entry.type, entry.type), shape)
