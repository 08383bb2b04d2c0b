"""The model contract: what a classifier expects and means, carried inside its own file.

The runtime does what the contract says and has no other idea of preprocessing. Serialised as JSON; an unknown key, a
missing key or a newer schema is an error, because a guess about preprocessing costs accuracy without a sound.
"""

import dataclasses
import json
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError
from fer_edge.metrics import softmax
from fer_edge.tables import Range, Text, build, parse_json, shown
from fer_edge.tasks import CLASSES, LABELS, TASKS, VALUES, TaskSpec

# Version 1 is expression7 and expression8; version 2 is every other task, and `measured_values`. A contract says the
# lowest version that can express it, so that an older runtime goes on reading what it understands. Keys with a default,
# such as `quantization`, may be absent in either.
SCHEMA_VERSION = 2
# Key of the contract among ONNX metadata_props, and name of its buffer among TFLite metadata.
METADATA_KEY = "fer_edge"

# A contract reaches terminals, files, pictures and topics, so all in it can be shown and is of bounded length.
_MOST_CHARS, _MOST_LABELS = 1 << 20, 1000
_REMEDY = "Export the model again with `make export`."
Label = Annotated[str, Text(64)]
Word = Annotated[str, Text(200)]
Line = Annotated[str, Text(2000)]
Pixels = Annotated[int, Range(1, 1024)]
Margin = Annotated[float, Range(-0.4, 2.0)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]

_FIRST_TASKS = ("expression7", "expression8")
_MEANINGS = {CLASSES: ("logits", "probabilities"), LABELS: ("logits", "probabilities"), VALUES: ("values",)}
_CHOICES = {
    "task": tuple(TASKS),
    "colour": ("grey",),
    "layout": ("NCHW", "NHWC"),
    "dtype": ("uint8", "int8", "float32"),
    "alignment": ("none",),
    "meaning": ("logits", "probabilities", "values"),
    "precision": ("fp32", "fp16", "int8"),
}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The tensor a classifier takes. A raw pixel p in 0..255 is fed as p + `low`, so `low` is 0 or, for int8, -128."""

    height_px: Pixels
    width_px: Pixels
    colour: Word
    layout: Word
    dtype: Word
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class DetectorMargin:
    """The margin measured for one detector, whose boxes are tighter or wider than others'."""

    detector: Word
    margin: Margin


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """How a face is cut out of a frame: the detector's box, squared, widened by a margin of its side each way.

    `margin` holds for every detector without an entry in `detector_margins`.
    """

    margin: Margin
    square: bool
    alignment: Word
    detector_margins: tuple[DetectorMargin, ...] = ()

    def margin_for(self, detector: str) -> float:
        """The margin for boxes of `detector`, as a fraction of the box's side."""
        return next((entry.margin for entry in self.detector_margins if entry.detector == detector), self.margin)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the output numbers are. Logits are divided by `temperature` before softmax (Guo et al., 2017) or sigmoid;
    values are the task's own, and are only kept inside its scale."""

    meaning: Word
    temperature: Annotated[float, Range(1e-3, 1e3)]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """An accuracy measured with this very file. Fractions in [0, 1]; `crops` is "single" or what was averaged."""

    dataset: Word
    split: Word
    n: Count
    crops: Word
    accuracy: Fraction
    macro_f1: Fraction


@dataclass(frozen=True, kw_only=True)
class ValueMeasurement:
    """How well one label of a task of values was estimated by this very file; see `fer_edge.metrics.ValueMetrics`."""

    dataset: Word
    split: Word
    n: Count
    crops: Word
    label: Label
    ccc: float
    pcc: float
    icc: float
    rmse: float
    mae: float
    sagr: float


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How an INT8 file was made, and the gate it passed: drops in points of accuracy and macro-F1 against float.

    A drop is None where there was no truth to measure it on; agreement is then with float on synthetic inputs. `forced`
    says that it missed a limit, named in `failed`, and was written all the same. Where `failed` is said without
    `forced`, the faces were too few to decide those limits, and it was accepted.
    """

    recipe: Word
    target: Word
    max_accuracy_drop_points: float | None
    max_macro_f1_drop_points: float | None
    min_agreement: Fraction
    forced: bool = False
    failed: Line | None = None


@dataclass(frozen=True, kw_only=True)
class ModelContract:
    """Everything that must be known to feed a classifier, read its output and trace where it came from."""

    schema_version: int = 1
    name: Word
    task: Word
    labels: tuple[Label, ...]
    input: InputSpec
    face_crop: FaceCrop
    output: OutputSpec
    precision: Word
    checkpoint_sha256: Word
    trained_on: Line
    calibrated_on: Line | None = None
    measured: tuple[Measurement, ...] = ()
    quantization: Quantization | None = None
    measured_values: tuple[ValueMeasurement, ...] = ()
    licence: Line
    producer: Line
    created: Word

    def to_json(self) -> str:
        """The contract as indented JSON with a stable order of keys, those of its own schema version."""
        table = dataclasses.asdict(self)
        if self.schema_version < 2:
            del table["measured_values"]
        return json.dumps(table, indent=2, ensure_ascii=False) + "\n"

    @property
    def task_spec(self) -> TaskSpec:
        """What the task's numbers mean."""
        return TASKS[self.task]

    def model_input(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """Raw grey crops (n, h, w) uint8 -> the tensor the model takes, (n, 1, h, w) or (n, h, w, 1)."""
        values: NDArray[Any] = crops
        if self.input.dtype == "int8":
            values = (crops.astype(np.int16) + self.input.low).astype(np.int8)
        elif self.input.dtype == "float32":
            values = crops.astype(np.float32) + self.input.low
        return np.expand_dims(values, 1 if self.input.layout == "NCHW" else 3)

    def answers(self, outputs: NDArray[np.floating]) -> NDArray[np.float32]:
        """Model outputs (n, labels) float -> what the task promises (n, labels) float32.

        Probabilities for a task of classes or labels, values inside the task's scale for a task of values.
        """
        numbers = outputs.astype(np.float32)
        if self.output.meaning == "values":
            return np.clip(numbers, self.task_spec.low, self.task_spec.high)
        if self.output.meaning == "probabilities":
            return numbers
        scaled = numbers / self.output.temperature
        if self.task_spec.kind == LABELS:
            return np.asarray(1 / (1 + np.exp(-scaled)), dtype=np.float32)
        return np.asarray(softmax(scaled), dtype=np.float32)


def schema_version_of(task: Word) -> int:
    """The lowest schema version that knows `task`."""
    return 1 if task in _FIRST_TASKS else 2


def parse_contract(text: str, where: str) -> ModelContract:
    """Read a contract from JSON; `where` names the file in errors. Raises ModelError."""
    if len(text) > _MOST_CHARS:
        raise ModelError(f"{where}: contract of {len(text)} characters, expected {_MOST_CHARS} at most.")
    table = parse_json(text, f"{where}: contract", ModelError)
    version = table.get("schema_version") if isinstance(table, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ModelError(f"{where}: the contract has no schema_version. {_REMEDY}")
    if version > SCHEMA_VERSION:
        raise ModelError(
            f"{where}: contract schema {version} is newer than this fer-edge understands "
            f"({SCHEMA_VERSION}). Upgrade fer-edge on this machine."
        )
    contract = build(ModelContract, table, f"{where}: contract", ModelError, _REMEDY)
    _check(contract, where)
    return contract


def _check(contract: ModelContract, where: str) -> None:
    """Refuse values this runtime could not honour."""
    for part in (contract, contract.input, contract.face_crop, contract.output):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name in _CHOICES and value not in _CHOICES[field.name]:
                raise ModelError(
                    f"{where}: contract {field.name} is {shown(value)}, expected one of "
                    f"{', '.join(_CHOICES[field.name])}."
                )
    _check_labels(contract.labels, where)
    _check_task(contract, where)
    if (contract.input.low, contract.input.high) != ((-128, 127) if contract.input.dtype == "int8" else (0, 255)):
        raise ModelError(
            f"{where}: contract range {contract.input.low}..{contract.input.high} does not fit {contract.input.dtype}."
        )


def _check_labels(labels: tuple[str, ...], where: str) -> None:
    """Refuse labels that nobody could read, or tell from one another."""
    blank = next((label for label in labels if not label or label != label.strip()), None)
    if blank is not None:
        raise ModelError(f"{where}: contract label {blank!r} is empty, or begins or ends with a space.")
    if len(labels) > _MOST_LABELS:
        raise ModelError(f"{where}: contract with {len(labels)} labels, expected {_MOST_LABELS} at most.")
    # What looks the same is the same: an accented letter may be written as one character or as two.
    looks = [unicodedata.normalize("NFC", label) for label in labels]
    if repeated := next((label for label in looks if looks.count(label) > 1), None):
        raise ModelError(f"{where}: contract label {repeated!r} is there twice.")


def _check_task(contract: ModelContract, where: str) -> None:
    """Refuse a task whose labels, outputs or schema version do not go with it."""
    task, version = contract.task_spec, contract.schema_version
    if len(contract.labels) != (task.count or len(contract.labels)) or not contract.labels:
        raise ModelError(f"{where}: contract task {contract.task} with {len(contract.labels)} labels.")
    if contract.output.meaning not in _MEANINGS[task.kind]:
        expected = " or ".join(_MEANINGS[task.kind])
        raise ModelError(
            f"{where}: contract task {contract.task} gives {contract.output.meaning}, expected {expected}."
        )
    if version < 1:
        raise ModelError(f"{where}: contract schema {version}, expected 1 or more. Export the model again.")
    if version < schema_version_of(contract.task):
        raise ModelError(
            f"{where}: contract task {contract.task} needs schema {schema_version_of(contract.task)}, found {version}. "
            "Export the model again."
        )
    if version < 2 and contract.measured_values:
        raise ModelError(f"{where}: contract has unknown key 'measured_values' for schema {version}.")
