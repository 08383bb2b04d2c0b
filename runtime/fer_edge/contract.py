"""The model contract: what a classifier expects and means, carried inside its own file.

The runtime does what the contract says and has no other idea of preprocessing. Serialised as JSON; an unknown key, a
missing key or a newer schema is an error, because a guess about preprocessing costs accuracy without a sound.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract_checks import SCHEMA_VERSION, check, lowest_schema, newer_than
from fer_edge.contract_parts import (
    TEMPLATES,
    DetectorMargin,
    FaceCrop,
    InputSpec,
    Label,
    Line,
    Measurement,
    OutputSpec,
    Quantization,
    TemplatePoint,
    ValueMeasurement,
    Word,
)
from fer_edge.errors import ModelError
from fer_edge.metrics import softmax
from fer_edge.preprocess import model_input
from fer_edge.tables import build, parse_json
from fer_edge.tasks import LABELS, TASKS, TaskSpec

__all__ = [
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "TEMPLATES",
    "DetectorMargin",
    "FaceCrop",
    "InputSpec",
    "Measurement",
    "ModelContract",
    "OutputSpec",
    "Quantization",
    "TemplatePoint",
    "ValueMeasurement",
    "lowest_schema",
    "parse_contract",
]

# Key of the contract among ONNX metadata_props, and name of its buffer among TFLite metadata.
METADATA_KEY = "fer_edge"
_MOST_CHARS = 1 << 20
_REMEDY = "Export the model again with `make export`."


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
        """The contract as indented JSON with a stable order of keys, those of its own schema version.

        Raises ModelError where that version cannot express it: nothing is left out.
        """
        if self.schema_version < lowest_schema(self):
            raise ModelError(
                f"{self.name}: contract schema {self.schema_version} cannot express it, expected "
                f"{lowest_schema(self)} or more. Use in_lowest_schema()."
            )
        table = dataclasses.asdict(self)
        for part, key, values in newer_than(self.schema_version):
            if values is None:
                del (table[part] if part else table)[key]
        return json.dumps(table, indent=2, ensure_ascii=False) + "\n"

    @property
    def task_spec(self) -> TaskSpec:
        """The meaning of the task's numbers."""
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
    check(contract, where)
    return contract
