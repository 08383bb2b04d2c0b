"""onnxruntime, for .onnx models: an extra (`pip install "fer-edge[onnx]"`)."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fer_edge.engines import TensorSpec, first_line, run_in_batches
from fer_edge.engines.providers import open_session
from fer_edge.errors import ModelError

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}


class OnnxEngine:
    """An .onnx model, on the first of TensorRT, CUDA and CPU that the installed onnxruntime has."""

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError(
                f'{path}: .onnx models need onnxruntime. Install it: pip install "fer-edge[onnx]"'
            ) from None
        self.version, self._path = str(onnxruntime.__version__), path
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = open_session(path, options)
        except Exception as error:  # onnxruntime's own exception classes are not public
            raise ModelError(
                f"{path}: onnxruntime cannot load it ({first_line(error)}). Copy or export it again."
            ) from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{path}: {len(inputs)} inputs, expected 1.")
        self.input = _spec(inputs[0])
        self.outputs = tuple(_spec(argument) for argument in self._session.get_outputs())

    def run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        return run_in_batches(self._run, tensor, self.input.shape[0])

    def _run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            return list(self._session.run(None, {self.input.name: tensor}))
        except Exception as error:  # onnxruntime's own exception classes are not public
            reason = f"onnxruntime cannot run it ({first_line(error)})"
            raise ModelError(f"{self._path}: {reason}. Export it again.") from None

    def metadata(self, key: str) -> str | None:
        """See `Engine.metadata`."""
        value = self._session.get_modelmeta().custom_metadata_map.get(key)
        return None if value is None else str(value)


def _spec(argument: Any) -> TensorSpec:
    shape = tuple(d if isinstance(d, int) else -1 for d in argument.shape)
    return TensorSpec(argument.name, shape, _DTYPES.get(argument.type, argument.type))
