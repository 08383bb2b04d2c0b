"""A classifier: a model file, run by its engine, as its contract says."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import METADATA_KEY, InputSpec, ModelContract, parse_contract
from fer_edge.contract_checks import CHOICES
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
                f"{path}: no contract inside, so its preprocessing is unknown. Give it one on the workbench with "
                f"`fer-edge-lab adopt {path}`; docs/own-model.md says how."
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
                f"{engine.input.dtype} {shape_text(found)}. {_remedy(spec, found, engine.input.dtype)}"
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
            fitting = self._fitting() or ", ".join(map(shown, names[:_SHOWN_NAMES]))
            raise ModelError(
                f"{self.path}: {len(names)} outputs, expected one, or a contract that says which: {fitting}."
            )
        return 0

    def _check_output(self) -> None:
        """The output must be (faces, labels), as the file says and as a run on a black and a white crop gives it."""
        labels, output = len(self.contract.labels), self.engine.outputs[self._output]
        if not (output.shape and _is_row(output.shape[1:], labels)):
            raise ModelError(
                f"{self.path}: output {shown(output.name)} of shape {shape_text(output.shape)}, expected "
                f"(faces, {labels} labels). Outputs of that shape: {self._fitting() or 'none'}."
            )
        # Two at once: some models that say they take any number are exported so that they take only one.
        crops = np.zeros((max(self.engine.input.shape[0], 2), *self.contract.input.crop_shape), dtype=np.uint8)
        crops[1] = 255
        self._check_meaning(self.logits(crops))

    def _fitting(self) -> str:
        """The names of the outputs that may be rows of labels."""
        labels = len(self.contract.labels)
        names = [shown(one.name) for one in self.engine.outputs if one.shape and _is_row(one.shape[1:], labels)]
        return ", ".join(names[:_SHOWN_NAMES])

    def _check_meaning(self, outputs: NDArray[np.float32]) -> None:
        """Refuse probabilities that are none, and warn of logits that look like probabilities."""
        meaning, finite = self.contract.output.meaning, outputs[np.isfinite(outputs).all(axis=1)]
        if len(finite) == 0 or meaning == "values":
            return
        within = finite.min() >= -_TOLERANCE and finite.max() <= 1 + _TOLERANCE
        if meaning == "probabilities" and not within:
            raise ModelError(
                f"{self.path}: outputs from {finite.min():.3g} to {finite.max():.3g}, expected probabilities from 0 "
                "to 1. Is the meaning of its output logits?"
            )
        if meaning == "logits" and within and np.allclose(finite.sum(axis=1), 1, atol=_TOLERANCE):
            logger.warning(
                "%s: outputs that look like probabilities; its contract says logits, so all labels will seem alike.",
                self.path,
            )


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for a message; a dimension that may vary is "any"."""
    return f"({', '.join('any' if size == -1 else str(size) for size in shape)})"


def _remedy(spec: InputSpec, found: tuple[int, ...], dtype: str) -> str:
    """List the changes to the contract's input that a model which takes `found` (without the batch) needs."""
    # A number of channels that may vary says nothing, so those that are said come first.
    options = (
        (layout, colour, found[1:] if layout == "NCHW" else found[:-1])
        for is_said in (True, False)
        for layout in (spec.layout, "NCHW", "NHWC")
        for colour in (spec.colour, "grey", "rgb")
        if len(found) == 3
        and found[0 if layout == "NCHW" else 2] == ((1 if colour == "grey" else 3) if is_said else -1)
    )
    if dtype not in CHOICES["dtype"]:
        return f"Expected pixels of {', '.join(CHOICES['dtype'])}. Export it again."
    if (option := next(options, None)) is None:
        return "Expected a picture in one or three channels. Export it again."
    layout, colour, sides = option
    differences = {
        f"layout {layout}": layout != spec.layout,
        f"colour {colour}": colour != spec.colour,
        f"height_px {sides[0]}, width_px {sides[1]}": any(
            a not in (b, -1) for a, b in zip(sides, spec.size_px, strict=True)
        ),
        f"dtype {dtype}": dtype != spec.dtype,
    }
    return f"Its contract would need {', '.join(key for key, differs in differences.items() if differs)}."


def _is_row(shape: tuple[int, ...], labels: int) -> bool:
    """Whether an output of this shape a face is one row of labels; other dimensions are 1. -1 may be any number."""
    others = list(shape)
    for size in (labels, -1):
        if size in others:
            others.remove(size)
            return all(other in (1, -1) for other in others)
    return False
