"""onnxruntime, for .onnx models: an extra (`pip install "fer-edge[onnx]"`)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import METADATA_KEY
from fer_edge.engines import TensorSpec, refuse_what_fails, refusing, run_in_batches
from fer_edge.engines.providers import DTYPES, is_cpu_alone, open_session, trial_shape
from fer_edge.errors import ModelError


class OnnxEngine:
    """An .onnx model, on the first of TensorRT, CUDA and CPU that the installed onnxruntime has."""

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int, *, pinned: bool = False) -> None:
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
        if not pinned and is_cpu_alone():
            refuse_what_fails(lambda: _run_once(path, options), path, self.name)
        with refusing(path, self.name, "load"):
            self._session = open_session(path, options)
            # Names and metadata that are not UTF-8 raise only when they are read.
            inputs, self.outputs = (
                tuple(_spec(argument) for argument in arguments)
                for arguments in (self._session.get_inputs(), self._session.get_outputs())
            )
            self._metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        if len(inputs) != 1:
            raise ModelError(f"{path}: {len(inputs)} inputs, expected 1.")
        self.input = inputs[0]

    def run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        """See `Engine.run`."""
        return run_in_batches(self._run, tensor, self.input.shape[0])

    def _run(self, tensor: NDArray[Any]) -> list[NDArray[Any]]:
        with refusing(self._path, self.name, "run"):
            return list(self._session.run(None, {self.input.name: tensor}))

    def metadata(self, key: str) -> str | None:
        """See `Engine.metadata`."""
        return self._metadata.get(key)


def _run_once(path: Path, options: Any) -> None:
    """One inference on black pictures, as long as the model takes no other tensors."""
    with refusing(path, OnnxEngine.name, "load"):
        session = open_session(path, options)
        specs = [_spec(argument) for argument in session.get_inputs()]
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if all(spec.dtype in DTYPES.values() for spec in specs):
        session.run(None, {spec.name: np.zeros(trial_shape(spec.shape, text), spec.dtype) for spec in specs})


def _spec(argument: Any) -> TensorSpec:
    shape = tuple(d if isinstance(d, int) else -1 for d in argument.shape)
    return TensorSpec(argument.name, shape, DTYPES.get(argument.type, argument.type))
