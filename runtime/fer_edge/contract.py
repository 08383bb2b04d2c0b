"""The model contract: what a classifier expects and means, carried inside its own file.

The runtime does what the contract says and has no other idea of preprocessing. Serialised as JSON; an unknown key, a
missing key or a newer schema is an error, because a guess about preprocessing costs accuracy without a sound.
"""

import dataclasses
import json
import math
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import ModelError
from fer_edge.metrics import softmax
from fer_edge.preprocess import model_input
from fer_edge.tables import Range, Text, build, parse_json, shown
from fer_edge.tasks import CLASSES, LABELS, TASKS, VALUES, TaskSpec

# Version 1 is expression7 and expression8; version 2 is the value tasks, and `measured_values`; version 3 describes
# models of any origin: colour, mean and std, classes of any name and number, one output of several, alignment, fp16. A
# contract says the lowest version that can express it (`lowest_schema`), so that an older runtime goes on reading what
# it understands. Keys with a default, such as `quantization`, may be absent.
SCHEMA_VERSION = 3
# Key of the contract among ONNX metadata_props, and name of its buffer among TFLite metadata.
METADATA_KEY = "fer_edge"

# A contract reaches terminals, files, pictures and topics, so all in it can be shown and is of bounded length.
_MOST_CHARS, _MOST_LABELS = 1 << 20, 1000
# In fractions of the crop: points closer together give no direction.
_TEMPLATE_POINTS, _CLOSEST_EYES = 5, 0.02
_REMEDY = "Export the model again with `make export`."
Label = Annotated[str, Text(64)]
Word = Annotated[str, Text(200)]
Line = Annotated[str, Text(2000)]
Pixels = Annotated[int, Range(1, 1024)]
Margin = Annotated[float, Range(-0.4, 2.0)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]
Mean = Annotated[float, Range(-1e3, 1e3)]
Std = Annotated[float, Range(1e-3, 1e3)]
Place = Annotated[float, Range(-0.5, 1.5)]
Position = Annotated[int, Range(0, 999)]

# Places of right eye, left eye, tip of the nose, right and left corner of the mouth (the person's own right and left)
# in a square crop, as fractions of its side. arcface-112: InsightFace's points for 112 px, which most aligned models
# use.
TEMPLATES: dict[str, tuple[tuple[float, float], ...]] = {
    "arcface-112": tuple(
        (x / 112, y / 112)
        for x, y in (
            (38.2946, 51.6963),
            (73.5318, 51.5014),
            (56.0252, 71.7366),
            (41.5493, 92.3655),
            (70.7299, 92.2041),
        )
    )
}
# Each key or value that a schema after the first brought: (part, key, the values; None for any but the default).
_SINCE: dict[int, tuple[tuple[str, str, tuple[str, ...] | None], ...]] = {
    2: (
        ("", "task", ("positive-negative", "valence-arousal", "smile-intensity", "action-units")),
        ("", "measured_values", None),
    ),
    3: (
        ("", "task", ("classes",)),
        ("input", "colour", ("rgb", "bgr")),
        ("input", "dtype", ("float16",)),
        ("input", "mean", None),
        ("input", "std", None),
        ("face_crop", "alignment", ("five-point",)),
        ("face_crop", "template", None),
        ("face_crop", "template_points", None),
        ("output", "name", None),
        ("output", "index", None),
    ),
}
_MEANINGS = {CLASSES: ("logits", "probabilities"), LABELS: ("logits", "probabilities"), VALUES: ("values",)}
_CHOICES = {
    "task": tuple(TASKS),
    "colour": ("grey", "rgb", "bgr"),
    "layout": ("NCHW", "NHWC"),
    "dtype": ("uint8", "int8", "float32", "float16"),
    "alignment": ("none", "five-point"),
    "meaning": ("logits", "probabilities", "values"),
    "precision": ("fp32", "fp16", "int8"),
}


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The tensor a classifier takes.

    A raw pixel p in 0..255 is fed as p + `low`, so `low` is 0 or, for int8, -128. With `mean` and `std`, in units of a
    pixel and one for each channel in the order of `colour`, it is fed as (p - mean) / std: 0..1 is mean 0, std 255.
    """

    height_px: Pixels
    width_px: Pixels
    colour: Word
    layout: Word
    dtype: Word
    low: int
    high: int
    mean: tuple[Mean, ...] = ()
    std: tuple[Std, ...] = ()

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return 1 if self.colour == "grey" else 3

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width."""
        return self.height_px, self.width_px

    @property
    def tensor_shape(self) -> tuple[int, int, int]:
        """The shape of one face in the tensor: (channels, height, width) or (height, width, channels)."""
        if self.layout == "NCHW":
            return self.channels, self.height_px, self.width_px
        return self.height_px, self.width_px, self.channels

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """The shape of one crop: (height, width) grey, or (height, width, 3) BGR."""
        return self.size_px if self.channels == 1 else (*self.size_px, 3)


@dataclass(frozen=True, kw_only=True)
class DetectorMargin:
    """The margin measured for one detector, whose boxes are tighter or wider than others'."""

    detector: Word
    margin: Margin


@dataclass(frozen=True, kw_only=True)
class TemplatePoint:
    """Where a part of the face lies in the crop: fractions of its width and height from the upper left corner."""

    x: Place
    y: Place


@dataclass(frozen=True, kw_only=True)
class FaceCrop:
    """How a face is cut out of a frame: the detector's box, squared, widened by a margin of its side each way.

    `margin` holds for every detector without an entry in `detector_margins`. With `alignment` "five-point" the face is
    rotated, scaled and moved so that its keypoints fall on those of `template`, a name in TEMPLATES, or on the five
    `template_points`: right eye, left eye, nose, right and left corner of the mouth. A face whose detector gives no
    keypoints is cut out by its box.
    """

    margin: Margin
    square: bool
    alignment: Word
    detector_margins: tuple[DetectorMargin, ...] = ()
    template: Word | None = None
    template_points: tuple[TemplatePoint, ...] = ()

    def template_px(self, height_px: int, width_px: int) -> NDArray[np.float64]:
        """The template's points (5, 2), x and y in pixels of a crop. A named one is centred in a crop not square."""
        if self.template is None:
            return np.array([(point.x * width_px, point.y * height_px) for point in self.template_points], np.float64)
        side = min(height_px, width_px)
        return np.array(TEMPLATES[self.template]) * side + ((width_px - side) / 2, (height_px - side) / 2)

    def margin_for(self, detector: str) -> float:
        """The margin for boxes of `detector`, as a fraction of the box's side."""
        return next((entry.margin for entry in self.detector_margins if entry.detector == detector), self.margin)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the output numbers are. Logits are divided by `temperature` before softmax (Guo et al., 2017) or sigmoid;
    values are the task's own, and are only kept inside its scale.

    Where the model has several outputs, `name` or `index` (from 0, in the file's order) says which one is meant.
    """

    meaning: Word
    temperature: Annotated[float, Range(1e-3, 1e3)]
    name: Word | None = None
    index: Position | None = None


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
        for part, key, values in _newer_than(self.schema_version):
            if values is None:
                del (table[part] if part else table)[key]
        return json.dumps(table, indent=2, ensure_ascii=False) + "\n"

    @property
    def task_spec(self) -> TaskSpec:
        """What the task's numbers mean."""
        return TASKS[self.task]

    def in_lowest_schema(self) -> "ModelContract":
        """The same contract in the lowest schema version that expresses it."""
        return dataclasses.replace(self, schema_version=lowest_schema(self))

    def model_input(self, faces: NDArray[np.uint8]) -> NDArray[Any]:
        """Raw faces, grey (n, h, w) or BGR (n, h, w, 3) uint8 of any size -> the tensor the model takes."""
        return model_input(faces, self.input)

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


def lowest_schema(contract: ModelContract) -> int:
    """The lowest schema version that can express `contract`."""
    return next(
        (version for version in range(SCHEMA_VERSION, 1, -1) if any(_uses(contract, *new) for new in _SINCE[version])),
        1,
    )


def _newer_than(version: int) -> tuple[tuple[str, str, tuple[str, ...] | None], ...]:
    """What the schemas after `version` brought."""
    return tuple(new for later in range(max(version, 1) + 1, SCHEMA_VERSION + 1) for new in _SINCE[later])


def _uses(contract: ModelContract, part: str, key: str, values: tuple[str, ...] | None) -> bool:
    """Whether the contract's `key` has one of the `values`, or any but its default."""
    value = getattr(getattr(contract, part) if part else contract, key)
    return value in values if values is not None else value not in ((), None)


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
    _check_schema(contract, where)
    _check_input(contract.input, where)
    _check_alignment(contract.face_crop, where)
    if contract.output.name is not None and contract.output.index is not None:
        raise ModelError(f"{where}: contract output has a name and an index, expected one of them.")


def _check_input(spec: InputSpec, where: str) -> None:
    """Refuse a range, or a mean and std, that do not go with the rest of the input."""
    if (spec.low, spec.high) != ((-128, 127) if spec.dtype == "int8" else (0, 255)):
        raise ModelError(f"{where}: contract range {spec.low}..{spec.high} does not fit {spec.dtype}.")
    if not spec.mean and not spec.std:
        return
    if len(spec.mean) != spec.channels or len(spec.std) != spec.channels:
        raise ModelError(
            f"{where}: contract with {len(spec.mean)} means and {len(spec.std)} stds, expected {spec.channels} of each "
            f"for {spec.colour}, or none."
        )
    if not spec.dtype.startswith("float"):
        raise ModelError(f"{where}: contract with mean and std for {spec.dtype}, expected float32 or float16.")


def _check_alignment(face_crop: FaceCrop, where: str) -> None:
    """Refuse an alignment without a template, a template without an alignment, and points that are no face."""
    points = face_crop.template_points
    if face_crop.template is not None and face_crop.template not in TEMPLATES:
        raise ModelError(
            f"{where}: contract template is {shown(face_crop.template)}, expected one of {', '.join(TEMPLATES)}."
        )
    given = (face_crop.template is not None) + bool(points)
    if given != (1 if face_crop.alignment == "five-point" else 0):
        raise ModelError(
            f"{where}: contract alignment {face_crop.alignment} with {given} templates, expected "
            "a template or template_points for five-point, and neither for none."
        )
    if points and len(points) != _TEMPLATE_POINTS:
        raise ModelError(f"{where}: contract with {len(points)} template_points, expected {_TEMPLATE_POINTS}.")
    if points and math.dist(*((point.x, point.y) for point in points[:2])) < _CLOSEST_EYES:
        raise ModelError(f"{where}: contract template_points have both eyes in one place.")


def _check_schema(contract: ModelContract, where: str) -> None:
    """Refuse a schema version that does not know what the contract says."""
    version = contract.schema_version
    if version < 1:
        raise ModelError(f"{where}: contract schema {version}, expected 1 or more. Export the model again.")
    for part, key, values in _newer_than(version):
        if not _uses(contract, part, key, values):
            continue
        if values is None:
            raise ModelError(f"{where}: contract has unknown key {key!r} for schema {version}.")
        value = getattr(getattr(contract, part) if part else contract, key)
        raise ModelError(
            f"{where}: contract {key} {value} needs schema {lowest_schema(contract)}, found {version}. "
            "Export the model again."
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
    """Refuse a task whose labels or outputs do not go with it."""
    task = contract.task_spec
    if not _fits(len(contract.labels), task):
        raise ModelError(f"{where}: contract task {contract.task} with {len(contract.labels)} labels.")
    if contract.output.meaning not in _MEANINGS[task.kind]:
        expected = " or ".join(_MEANINGS[task.kind])
        raise ModelError(
            f"{where}: contract task {contract.task} gives {contract.output.meaning}, expected {expected}."
        )


def _fits(labels: int, task: TaskSpec) -> bool:
    """Whether a model of the task may have so many labels: one class among one says nothing."""
    return labels == task.count if task.count else labels >= (2 if task.kind == CLASSES else 1)
