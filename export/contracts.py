"""The contract of an exported model, from what its checkpoint says."""

import os
import time
from typing import Any

import fer_edge
from fer_edge.contract import (
    DetectorMargin,
    FaceCrop,
    InputSpec,
    Measurement,
    ModelContract,
    OutputSpec,
    ValueMeasurement,
    parse_contract,
)
from fer_edge.errors import ModelError, UsageError
from fer_edge.tasks import TASKS, VALUES

from train.data.fer2013 import SIDE_PX
from train.fit.checkpoint import CheckpointInfo
from train.fit.tasks import output_meaning

# The middle of the margins that agree best with FER2013's own framing: docs/measured/margins.csv, `boards margins`.
DEFAULT_FACE_CROP = FaceCrop(
    margin=0.05,
    square=True,
    alignment="none",
    detector_margins=(
        DetectorMargin(detector="mediapipe", margin=0.05),
        DetectorMargin(detector="yunet", margin=-0.01),
    ),
)
LICENCE = "Apache-2.0"
PRODUCER = f"fer-edge {fer_edge.__version__}"
# One image a time decides nothing else, so single crop is what `measured` of a checkpoint means.
_CROPS = "single"
# Checkpoints that do not say what they were measured on are of this.
_DATASET = "FER2013"
VALUE_FIGURES = ("ccc", "pcc", "icc", "rmse", "mae", "sagr")


def float_contract(info: CheckpointInfo, checkpoint_sha256: str, *, layout: str) -> ModelContract:
    """Contract of the float model, raw grey uint8 in; `layout` is "NCHW" (ONNX) or "NHWC" (TFLite).

    Raises ModelError where the checkpoint's header names something no contract may say, such as an unknown task.
    """
    contract = ModelContract(
        name=info.name,
        task=info.task,
        labels=info.labels,
        input=InputSpec(
            height_px=SIDE_PX, width_px=SIDE_PX, colour="grey", layout=layout, dtype="uint8", low=0, high=255
        ),
        face_crop=DEFAULT_FACE_CROP,
        output=OutputSpec(meaning=_meaning(info), temperature=info.temperature),
        precision="fp32",
        checkpoint_sha256=checkpoint_sha256,
        trained_on=info.trained_on,
        measured=measurements(info.measured),
        measured_values=value_measurements(info),
        licence=LICENCE,
        producer=PRODUCER,
        created=build_date(),
    )
    # A contract this runtime would refuse must not be written.
    return parse_contract(contract.in_lowest_schema().to_json(), f"checkpoint {info.name}")


def measurements(measured: dict[str, Any]) -> tuple[Measurement, ...]:
    """The figures of a checkpoint, split -> {"n", "accuracy", "macro_f1"}; empty where they do not have that form."""
    try:
        return tuple(
            Measurement(
                dataset=str(figures.get("dataset", _DATASET)),
                split=split,
                n=int(figures["n"]),
                crops=_CROPS,
                accuracy=float(figures["accuracy"]),
                macro_f1=float(figures["macro_f1"]),
            )
            for split, figures in measured.items()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _meaning(info: CheckpointInfo) -> str:
    if info.task not in TASKS:
        raise ModelError(
            f"checkpoint {info.name}: task {info.task!r} is for training alone; a contract can say {', '.join(TASKS)}."
        )
    return output_meaning(info.task)


def value_measurements(info: CheckpointInfo) -> tuple[ValueMeasurement, ...]:
    """The figures of a checkpoint of values, split -> {"n", "figures": {"ccc_valence": ...}}, one entry a label."""
    if TASKS[info.task].kind != VALUES:
        return ()
    try:
        return tuple(
            ValueMeasurement(
                dataset=str(measured.get("dataset", _DATASET)),
                split=split,
                n=int(measured["n"]),
                crops=_CROPS,
                label=label,
                **{figure: float(measured["figures"][f"{figure}_{label}"]) for figure in VALUE_FIGURES},
            )
            for split, measured in info.measured.items()
            for label in info.labels
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def build_date() -> str:
    """Today in UTC, YYYY-MM-DD, or the day SOURCE_DATE_EPOCH names, so that a build can be repeated to the byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(None if epoch is None else int(epoch)))
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}, expected seconds since 1970.") from None
