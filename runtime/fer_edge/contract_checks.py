"""Validate contracts: the schema versions, and refusals of what this runtime could not honour."""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from typing import TYPE_CHECKING

from fer_edge.contract_parts import TEMPLATES, FaceCrop, InputSpec
from fer_edge.errors import ModelError
from fer_edge.tables import nearest, shown
from fer_edge.tasks import CLASSES, LABELS, TASKS, VALUES, TaskSpec

if TYPE_CHECKING:
    from fer_edge.contract import ModelContract

# Version 1 is expression7 and expression8; version 2 is the value tasks, and `measured_values`; version 3 describes
# models of any origin: colour, mean and std, classes of any name and number, one output of several, alignment, fp16. A
# contract says the lowest version that can express it (`lowest_schema`), so that an older runtime goes on reading what
# it understands. Keys with a default, such as `quantization`, may be absent.
SCHEMA_VERSION = 3
# A contract reaches terminals, files, pictures and topics, so all in it can be shown and is of bounded length.
_MOST_LABELS = 1000
# In fractions of the crop: points closer together give no direction.
_TEMPLATE_POINTS, _CLOSEST_EYES = 5, 0.02
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
CHOICES = {
    "task": tuple(TASKS),
    "colour": ("grey", "rgb", "bgr"),
    "layout": ("NCHW", "NHWC"),
    "dtype": ("uint8", "int8", "float32", "float16"),
    "alignment": ("none", "five-point"),
    "meaning": ("logits", "probabilities", "values"),
    "precision": ("fp32", "fp16", "int8"),
}


def lowest_schema(contract: ModelContract) -> int:
    """The lowest schema version that can express `contract`."""
    return next(
        (version for version in range(SCHEMA_VERSION, 1, -1) if any(_uses(contract, *new) for new in _SINCE[version])),
        1,
    )


def newer_than(version: int) -> tuple[tuple[str, str, tuple[str, ...] | None], ...]:
    """Keys and values that schemas after `version` added."""
    return tuple(new for later in range(max(version, 1) + 1, SCHEMA_VERSION + 1) for new in _SINCE[later])


def _uses(contract: ModelContract, part: str, key: str, values: tuple[str, ...] | None) -> bool:
    """Whether the contract's `key` has one of the `values`, or any but its default."""
    value = getattr(getattr(contract, part) if part else contract, key)
    return value in values if values is not None else value not in ((), None)


def check(contract: ModelContract, where: str) -> None:
    """Refuse values this runtime could not honour."""
    for part in (contract, contract.input, contract.face_crop, contract.output):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name in CHOICES and value not in CHOICES[field.name]:
                raise ModelError(f"{where}: contract {field.name} is {_unknown(value, CHOICES[field.name])}")
    _check_labels(contract.labels, where)
    _check_task(contract, where)
    _check_schema(contract, where)
    _check_input(contract.input, where)
    _check_alignment(contract.face_crop, where)
    if contract.output.name is not None and contract.output.index is not None:
        raise ModelError(f"{where}: contract output has a name and an index, expected one of them.")


def _unknown(word: str, known: tuple[str, ...]) -> str:
    """The end of a message about a word that is none of `known`, with the one that may be meant."""
    listed = f"{shown(word)}, expected one of {', '.join(known)}"
    near = nearest(word, known)
    return f"{listed}{near}" if "did you mean" in near else f"{listed}."


def _check_input(spec: InputSpec, where: str) -> None:
    """Refuse a range, or a mean and std, that do not go with the rest of the input."""
    low, high = (-128, 127) if spec.dtype == "int8" else (0, 255)
    if (spec.low, spec.high) != (low, high):
        raise ModelError(
            f"{where}: contract range {spec.low}..{spec.high} does not fit {spec.dtype}, expected {low}..{high}; "
            "another range is said by mean and std, such as 0 and 255 for 0..1."
        )
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
        raise ModelError(f"{where}: contract template is {_unknown(face_crop.template, tuple(TEMPLATES))}")
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
    for part, key, values in newer_than(version):
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
