"""LiteRT: ai-edge-litert where it is installed, else tflite-runtime, which has the same interpreter."""

import importlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.engines import PACKAGES, TensorSpec, first_line, refuse_what_fails, refusing, run_in_batches
from fer_edge.errors import ModelError
from fer_edge.files import MODEL_BYTES, read_bytes
from fer_edge.quiet import native_stderr_closed
from fer_edge.tflite_file import read_metadata, verify


class LiteRtEngine:
    """A .tflite model. Its batch is fixed, most often at 1: any number of rows runs as so many batches."""

    def __init__(
        self, path: Path, threads: int, *, pinned: bool = False, change: Callable[[bytes], bytes] | None = None
    ) -> None:
        self.name, self.version, interpreter_class = _interpreter()
        self._path = path
        data = read_bytes(path, ModelError, limit_bytes=MODEL_BYTES)
        self._data = data if change is None else change(data)
        self._open: Callable[[], Any] = lambda: interpreter_class(model_content=self._data, num_threads=threads)
        if not pinned:
            verify(self._data, str(path))
            # No verifier knows what 150 operators, in every version of two packages, make of senseless options.
            refuse_what_fails(self._run_once, path, self.name)
        # LiteRT announces its delegate on standard error, and has no switch for it.
        with refusing(path, self.name, "load"), native_stderr_closed():
            self._interpreter = self._open()
            self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            self._outputs = self._interpreter.get_output_details()
        if len(inputs) != 1:
            raise ModelError(f"{path}: {len(inputs)} inputs, expected 1.")
        self._input = inputs[0]
        self.input = _spec(self._input)
        self.outputs = tuple(_spec(detail) for detail in self._outputs)

    def _run_once(self) -> None:
        with refusing(self._path, self.name, "load"):
            interpreter = self._open()
            interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()

    def run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        return run_in_batches(self._run, tensor, self.input.shape[0])

    def _run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        with refusing(self._path, self.name, "run"):
            self._interpreter.set_tensor(self._input["index"], np.ascontiguousarray(tensor))
            self._interpreter.invoke()
            return [_dequantize(self._interpreter.get_tensor(detail["index"]), detail) for detail in self._outputs]

    def metadata(self, key: str) -> str | None:
        """See `Engine.metadata`."""
        return read_metadata(self._data, key, str(self._path))


def _interpreter() -> tuple[str, str, Any]:
    """Name, version and Interpreter class of the first LiteRT package that imports."""
    reasons = []
    for package, module in PACKAGES[".tflite"].items():
        try:
            return package, version(package), importlib.import_module(module).Interpreter
        except Exception as error:  # a numpy of the wrong generation raises more than ImportError
            reasons.append(f"{package}: {first_line(error)}")
    raise ModelError(f"no engine for .tflite ({'; '.join(reasons)}). Install one: pip install ai-edge-litert")


def _spec(detail: dict[str, Any]) -> TensorSpec:
    return TensorSpec(detail["name"], tuple(int(d) for d in detail["shape"]), np.dtype(detail["dtype"]).name)


def _dequantize(values: NDArray[Any], detail: dict[str, Any]) -> NDArray[Any]:
    scale, zero_point = detail["quantization"]
    if not np.issubdtype(values.dtype, np.integer) or scale == 0:
        return values
    real: NDArray[np.float32] = (values.astype(np.float32) - zero_point) * np.float32(scale)
    return real
