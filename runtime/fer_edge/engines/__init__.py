"""Inference engines behind one protocol: LiteRT for .tflite, onnxruntime for .onnx. What really ran is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a model. A dimension of -1 may vary."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Engine(Protocol):
    """One loaded model with one input."""

    name: str
    version: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    def run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs for an input of the model's shape, with any number of rows in the first dimension.

        Integer outputs that carry quantization parameters come back as float32. Raises ModelError where it fails.
        """
        ...

    def metadata(self, key: str) -> str | None:
        """Text the model file stores under `key`, None when absent."""
        ...


def open_engine(path: Path, *, threads: int = 1) -> Engine:
    """Load a model with the engine its suffix asks for. Raises ModelError when it cannot be read or run."""
    try:
        with open(path, "rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read ({error.strerror}).") from None
    if empty:
        raise ModelError(f"{path}: the file is empty. Copy or export it again.")
    if path.suffix == ".tflite":
        from fer_edge.engines.litert import LiteRtEngine

        return LiteRtEngine(path, threads)
    if path.suffix == ".onnx":
        from fer_edge.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads)
    raise ModelError(f"{path}: expected a .tflite or .onnx file.")


def run_in_batches(
    run: Callable[[NDArray[Any]], list[NDArray[Any]]], tensor: NDArray[Any], batch: int
) -> list[NDArray[Any]]:
    """Outputs of `run` for every row of `tensor`, for a model that takes exactly `batch` rows, or any number (-1).

    The last batch is filled up with copies of its last row, whose outputs are dropped.
    """
    if batch == -1 or len(tensor) == batch:
        return run(tensor)
    parts = []
    for start in range(0, len(tensor), batch):
        rows = tensor[start : start + batch]
        full = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows), axis=0)])
        parts.append([output[: len(rows)] for output in run(full)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def first_line(error: Exception) -> str:
    """The first line of a library's message, or the kind of error where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
