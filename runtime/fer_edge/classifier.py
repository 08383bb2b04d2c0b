"""A classifier: a model file, run by its engine, as its contract says."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import METADATA_KEY, ModelContract, parse_contract
from fer_edge.engines import Engine, open_engine
from fer_edge.errors import ModelError


class Classifier:
    """Answers its task for face crops. Opening it raises ModelError when model and contract do not fit."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.path = path
        self.engine: Engine = open_engine(path, threads=threads)
        text = self.engine.metadata(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{path}: no contract inside, so its preprocessing is unknown. Export it with `make export`, "
                "or see docs/model-contract.md to add one."
            )
        self.contract: ModelContract = parse_contract(text, str(path))
        self._check_fit()

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw outputs (n, labels) of grey crops (n, height_px, width_px) uint8."""
        outputs = self.engine.run(self.contract.model_input(crops))[0]
        return np.asarray(outputs, dtype=np.float32)

    def classify(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the contract's task promises, (n, labels), of grey crops (n, height_px, width_px) uint8."""
        if len(crops) == 0:
            return np.zeros((0, len(self.contract.labels)), dtype=np.float32)
        return self.contract.answers(self.logits(crops))

    def _check_fit(self) -> None:
        """The contract must describe this very model."""
        spec, engine = self.contract.input, self.engine
        size = (spec.height_px, spec.width_px)
        expected = (1, *size) if spec.layout == "NCHW" else (*size, 1)
        if engine.input.shape[1:] != expected or engine.input.dtype != spec.dtype:
            raise ModelError(
                f"{self.path}: the contract says {spec.dtype} input {expected}, the model takes "
                f"{engine.input.dtype} {engine.input.shape[1:]}. Export it again."
            )
        if len(engine.outputs) != 1 or engine.outputs[0].shape[-1] != len(self.contract.labels):
            found = [output.shape for output in engine.outputs]
            raise ModelError(f"{self.path}: {len(self.contract.labels)} labels, but outputs of shape {found}.")
