"""Inference engines behind one protocol: LiteRT for .tflite, onnxruntime for .onnx. What really ran is reported."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fer_edge.engines.trial import failure_of
from fer_edge.errors import ModelError
from fer_edge.files import MODEL_BYTES, open_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = {
    ".tflite": {"ai-edge-litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"},
    ".onnx": {"onnxruntime": "onnxruntime"},
}
"""By suffix of the model file: the packages that run it, the first that imports is taken, each with its module."""
# No engine is faster with more; tens of thousands kill the process.
MOST_THREADS = 64
_SHOWN_CHARS = 300


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


def open_engine(
    path: Path, *, threads: int = 1, pinned: bool = False, change: Callable[[bytes], bytes] | None = None
) -> Engine:
    """Load a model with the engine its suffix asks for. Raises ModelError when it cannot be read or run.

    `pinned` spares a file whose digest was compared with a published one the verification and the trial in a child
    process, which cost a Pi Zero 2 W about half a second for a detector. `change` is applied to a .tflite's bytes
    before it is loaded; what it raises is passed on.
    """
    with open_regular(path, ModelError) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
    if size_bytes == 0:
        raise ModelError(f"{path}: the file is empty. Copy or export it again.")
    if size_bytes > MODEL_BYTES:
        raise ModelError(f"{path}: {size_bytes >> 20} MB, expected {MODEL_BYTES >> 20} MB at most.")
    if not 1 <= threads <= MOST_THREADS:
        raise ModelError(f"{path}: {threads} threads, expected 1 to {MOST_THREADS}.")
    if path.suffix == ".tflite":
        from fer_edge.engines.litert import LiteRtEngine

        return LiteRtEngine(path, threads, pinned=pinned, change=change)
    if path.suffix == ".onnx":
        from fer_edge.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads, pinned=pinned)
    raise ModelError(
        f"{path}: expected a .tflite or .onnx file. Convert others on the workbench; docs/own-model.md says how."
    )


def has_engine(suffix: str) -> bool:
    """Whether a package that runs files of this suffix, such as ".onnx", is installed."""
    modules = (module.partition(".")[0] for module in PACKAGES.get(suffix, {}).values())
    return any(importlib.util.find_spec(module) is not None for module in modules)


def run_in_batches(
    run: Callable[[NDArray[Any]], list[NDArray[Any]]], tensor: NDArray[Any], batch: int
) -> list[NDArray[Any]]:
    """Outputs of `run` for every row of `tensor`, for a model that takes exactly `batch` rows, or any number (-1).

    The last batch is filled up with copies of its last row, whose outputs are dropped.
    """
    if batch == -1 or len(tensor) == batch:
        return run(tensor)
    import numpy as np

    parts = []
    for start in range(0, len(tensor), batch):
        rows = tensor[start : start + batch]
        full = np.concatenate([rows, np.repeat(rows[-1:], batch - len(rows), axis=0)])
        parts.append([output[: len(rows)] for output in run(full)])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


@contextmanager
def refusing(path: Path, engine: str, what: str) -> Iterator[None]:
    """Turn whatever native code raises inside the block into a ModelError of one line: its classes are not public.

    `what` is what the engine could not do with the model at `path`: "load" or "run".
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: {engine} cannot {what} it ({first_line(error)}). Copy or export it again.") from None


def refuse_what_fails(run_once: Callable[[], object], path: Path, engine: str) -> None:
    """Load and run the model at `path` in a child process. Raises ModelError where it fails there, or ends it."""

    def job() -> None:
        with refusing(path, engine, "run"):
            run_once()

    failure = failure_of(job)
    if failure is not None and failure.ended:
        raise ModelError(f"{path}: {engine} ends with it ({failure.text}). Copy or export it again.")
    if failure is not None:
        raise ModelError(failure.text)


def first_line(error: Exception) -> str:
    """The first line of a library's message, cut short, or the kind of error where it has none."""
    return _cut((str(error).strip().splitlines() or [type(error).__name__])[0])


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
