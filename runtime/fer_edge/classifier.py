"""A classifier: a model file, run by its engine, as its contract says."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import METADATA_KEY, ModelContract, parse_contract
from fer_edge.engines import Engine, open_engine
from fer_edge.errors import ModelError
from fer_edge.tables import nearest, shown

logger = logging.getLogger("fer_edge")

# Outputs that cannot be used are reported when the first one comes, and again after this long if more have come.
_REPORT_AGAIN_S = 3600.0
_MOST_FACES, _SHOWN_NAMES = 256, 8
# Values fed at once, as 455 grey faces of 48 px or 6 of 224 px in colour: more are not faster, and take the memory of a
# small board.
_MOST_VALUES = 1 << 20
# Rounding may take a probability a little beyond 0 or 1.
_TOLERANCE = 0.01


class Classifier:
    """Predicts its task for face crops. Opening it raises ModelError when model and contract do not fit.

    Outputs that are not finite (an FP16 overflow gives such) end here. `unusable_outputs` counts them. `clock_s` is a
    monotonic clock in seconds.
    """

    def __init__(self, path: Path, *, threads: int = 1, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.unusable_outputs = 0
        self._clock_s, self._reported_at_s = clock_s, float("-inf")
        self.engine: Engine = open_engine(path, threads=threads)
        text = self.engine.metadata(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{path}: no contract inside, so its preprocessing is unknown. Export it with `make export`, "
                "or see docs/model-contract.md to add one."
            )
        self.contract: ModelContract = parse_contract(text, str(path))
        self._check_input()
        self._output = self._chosen_output()
        self._check_output()

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw outputs (n, labels) of crops; they may not be finite.

        Crops are uint8, grey (n, height_px, width_px) or BGR (n, height_px, width_px, 3), here and in the other
        methods. They are converted to the model's colours, and resized where they are of another size. Raises
        ModelError where the model fails, or gives another shape.
        """
        most = max(_MOST_VALUES // math.prod(self.contract.input.tensor_shape), 1)
        parts = [self._logits(crops[start : start + most]) for start in range(0, max(len(crops), 1), most)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = np.asarray(self.engine.run(self.contract.model_input(crops))[self._output])
        count, labels = len(crops), len(self.contract.labels)
        if outputs.shape[:1] != (count,) or not _is_row(outputs.shape[1:], labels):
            raise ModelError(
                f"{self.path}: output of shape {outputs.shape}, expected {(count, labels)}: (faces, labels)."
            )
        if outputs.dtype.kind not in "fiu":
            raise ModelError(f"{self.path}: output of {outputs.dtype}, expected numbers.")
        return outputs.reshape(count, labels).astype(np.float32)

    def classify(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Numbers of the contract's task, (n, labels), of crops; see `logits`.

        Raises ModelError unless all of them can be used; see `classify_each`.
        """
        found = [row for row in self._rows(crops) if row is not None]
        if len(found) < len(crops):
            raise ModelError(f"{self.path}: {len(crops) - len(found)} of {len(crops)} outputs are not finite.")
        return np.stack(found) if found else np.zeros((0, len(self.contract.labels)), dtype=np.float32)

    def classify_each(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32] | None]:
        """The numbers (labels,) of each of the crops; see `logits`.

        None for a crop whose output cannot be used: not finite, or a probability outside 0 to 1. It is counted, and
        reported at times.
        """
        rows = self._rows(crops)
        unusable = sum(row is None for row in rows)
        if unusable:
            self.unusable_outputs += unusable
            self._report()
        return rows

    def _rows(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32] | None]:
        if len(crops) == 0:
            return []
        logits = self.logits(crops)
        with np.errstate(all="ignore"):  # what overflows here is dropped below
            numbers = self.contract.answers(logits)
        usable = np.isfinite(logits) & np.isfinite(numbers)
        if self.contract.output.meaning == "probabilities":
            usable &= (numbers >= -_TOLERANCE) & (numbers <= 1 + _TOLERANCE)
        return [row if good.all() else None for row, good in zip(numbers, usable, strict=True)]

    def _report(self) -> None:
        now_s = self._clock_s()
        if now_s - self._reported_at_s >= _REPORT_AGAIN_S:
            self._reported_at_s = now_s
            logger.warning(
                "%s: outputs that are not finite, or not from 0 to 1 (%d so far). Such faces are not named.",
                *(self.path, self.unusable_outputs),
            )

    def _check_input(self) -> None:
        """The contract must describe this very model."""
        spec, engine = self.contract.input, self.engine
        found = engine.input.shape[1:]
        fits = len(found) == 3 and all(a in (b, -1) for a, b in zip(found, spec.tensor_shape, strict=True))
        if not fits or engine.input.dtype != spec.dtype:
            raise ModelError(
                f"{self.path}: the contract says {spec.dtype} input {spec.tensor_shape}, the model takes "
                f"{engine.input.dtype} {found}. Export it again."
            )
        if engine.input.shape[0] != -1 and not 1 <= engine.input.shape[0] <= _MOST_FACES:
            raise ModelError(
                f"{self.path}: takes {engine.input.shape[0]} faces at once, expected 1 to {_MOST_FACES} or any number."
            )

    def _chosen_output(self) -> int:
        """Position of the output that the contract means among those of the model."""
        chosen, names = self.contract.output, [output.name for output in self.engine.outputs]
        if chosen.name is not None:
            if names.count(chosen.name) != 1:
                raise ModelError(f"{self.path}: no output {chosen.name!r}{nearest(chosen.name, names[:_SHOWN_NAMES])}")
            return names.index(chosen.name)
        if chosen.index is not None:
            if chosen.index >= len(names):
                raise ModelError(f"{self.path}: no output {chosen.index}, expected 0 to {len(names) - 1}.")
            return chosen.index
        if len(names) != 1:
            raise ModelError(
                f"{self.path}: {len(names)} outputs, expected one, or a contract that says which: "
                f"{', '.join(map(shown, names[:_SHOWN_NAMES]))}."
            )
        return 0

    def _check_output(self) -> None:
        """The output must be (faces, labels), as the file says and as a run on black crops gives it."""
        labels, shape = len(self.contract.labels), self.engine.outputs[self._output].shape
        if not (shape and _is_row(shape[1:], labels)):
            raise ModelError(f"{self.path}: output of shape {shape}, expected (faces, {labels} labels).")
        spec, batch = self.contract.input, self.engine.input.shape[0]
        # Two, where the model says that it takes any number: some are exported so that they take only one.
        crops = 2 if batch == -1 else batch
        self.logits(np.zeros((crops, *spec.crop_shape), dtype=np.uint8))


def _is_row(shape: tuple[int, ...], labels: int) -> bool:
    """Whether an output of this shape a face is one row of labels; other dimensions are 1. -1 may be any number."""
    others = list(shape)
    for size in (labels, -1):
        if size in others:
            others.remove(size)
            return all(other in (1, -1) for other in others)
    return False
