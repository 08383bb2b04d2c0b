"""The model contract: round trip, refusals, and what it says about inputs and outputs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.contract import (
    SCHEMA_VERSION,
    InputSpec,
    Measurement,
    ModelContract,
    ValueMeasurement,
    parse_contract,
)
from fer_edge.errors import ModelError
from fer_edge.tasks import TASKS

VALUES_OF_ONE = {
    **{"dataset": "FER2013", "split": "PublicTest", "n": 3, "crops": "single", "label": "smile"},
    **dict.fromkeys(("ccc", "pcc", "icc", "rmse", "mae", "sagr"), 0.5),
}


def of_task(contract: ModelContract, task: str, labels: tuple[str, ...], meaning: str) -> ModelContract:
    output = dataclasses.replace(contract.output, meaning=meaning)
    return dataclasses.replace(contract, schema_version=2, task=task, labels=labels, output=output)


def changed(contract: ModelContract, **changes: object) -> str:
    table = json.loads(contract.to_json())
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = table
        for parent in parents:
            target = target[parent]
        if value is dataclasses.MISSING:
            del target[last]
        else:
            target[last] = value
    return json.dumps(table)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    margin=st.floats(-0.4, 2.0),
    labels=st.lists(st.text(min_size=1), min_size=7, max_size=7, unique=True),
    measured=st.lists(st.floats(0, 1), max_size=3),
)
def test_json_round_trip(contract: ModelContract, margin: float, labels: list[str], measured: list[float]) -> None:
    rows = tuple(
        Measurement(dataset="FER2013", split="PublicTest", n=3589, crops="single", accuracy=a, macro_f1=a)
        for a in measured
    )
    original = dataclasses.replace(
        contract,
        labels=tuple(labels),
        measured=rows,
        face_crop=dataclasses.replace(contract.face_crop, margin=margin),
    )
    assert parse_contract(original.to_json(), "model") == original


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "newer than this fer-edge understands.*Upgrade"),
        ({"schema_version": "1"}, "no schema_version"),
        ({"colour_space": "sRGB"}, "unknown key 'colour_space'"),
        ({"input__gamma": 2.2}, "input has unknown key 'gamma'"),
        ({"labels": dataclasses.MISSING}, "lacks 'labels'"),
        ({"input__dtype": "float64"}, "dtype is 'float64', expected one of"),
        ({"input__height_px": "48"}, "height_px is '48', expected int"),
        ({"input__height_px": True}, "height_px is True, expected int"),
        ({"input__width_px": 0}, "input is 0x48 px"),
        ({"input__low": -128}, "range -128..255 does not fit uint8"),
        ({"task": "mind-reading"}, "task is 'mind-reading'"),
        ({"face_crop__margin": 9}, "margin is 9.0"),
        ({"face_crop__detector_margins": [{"detector": "x", "margin": -1}]}, "margin is -1.0"),
        ({"face_crop__detector_margins": [{"detector": "x"}]}, "lacks 'margin'"),
        ({"output__temperature": 0}, "temperature is 0.0"),
        ({"labels": ["sad"] * 7}, "labels repeat"),
        ({"labels": ["sad", "happy"]}, "task expression7 with 2 labels"),
        ({"task": "valence-arousal"}, "task valence-arousal with 7 labels"),
        ({"task": "valence-arousal", "labels": ["valence", "arousal"]}, "gives logits, expected values"),
        ({"output__meaning": "values"}, "task expression7 gives values, expected logits or probabilities"),
        ({"task": "positive-negative", "labels": ["negative", "positive"]}, "needs schema 2, found 1"),
        ({"measured_values": [VALUES_OF_ONE]}, "unknown key 'measured_values' for schema 1"),
        ({"task": "action-units", "labels": []}, "task action-units with 0 labels"),
        ({"schema_version": 0}, "schema 0, expected 1"),
        ({"output__temperature": float("inf")}, "temperature is inf"),
        ({"output__temperature": float("nan")}, "temperature is nan"),
        ({"measured": [{"dataset": "FER2013"}]}, "lacks 'split'"),
    ],
)
def test_a_contract_this_runtime_cannot_honour_is_refused(
    contract: ModelContract, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=rf"^model\.onnx: .*{message}"):
        parse_contract(changed(contract, **changes), "model.onnx")


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with pytest.raises(ModelError):
        parse_contract(text, "model")


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("float32", 0, 255)])
@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (2, 1, 48, 48)), ("NHWC", (2, 48, 48, 1))])
def test_model_input_is_the_raw_pixel_moved_to_the_contracts_range(
    contract: ModelContract, dtype: str, low: int, high: int, layout: str, shape: tuple[int, ...]
) -> None:
    spec = InputSpec(height_px=48, width_px=48, colour="grey", layout=layout, dtype=dtype, low=low, high=high)
    crops = np.stack([np.zeros((48, 48), np.uint8), np.full((48, 48), 255, np.uint8)])
    tensor = dataclasses.replace(contract, input=spec).model_input(crops)
    assert tensor.shape == shape
    assert tensor.dtype == dtype
    assert (tensor.min(), tensor.max()) == (low, high)


def test_probabilities_are_the_softmax_of_logits_over_temperature(contract: ModelContract) -> None:
    warm = dataclasses.replace(contract, output=dataclasses.replace(contract.output, temperature=2.0))
    logits = np.array([[0.0, 2 * np.log(3.0)]], dtype=np.float32)
    np.testing.assert_allclose(warm.answers(logits), [[0.25, 0.75]], atol=1e-6)


def test_values_stay_inside_their_scale(contract: ModelContract) -> None:
    affect = of_task(contract, "valence-arousal", ("valence", "arousal"), "values")
    np.testing.assert_allclose(affect.answers(np.array([[-3.0, 0.25]])), [[-1.0, 0.25]])
    smile = of_task(contract, "smile-intensity", ("smile",), "values")
    np.testing.assert_allclose(smile.answers(np.array([[-0.2], [0.4], [1.7]])), [[0.0], [0.4], [1.0]], rtol=1e-6)


def test_labels_that_may_hold_together_are_independent(contract: ModelContract) -> None:
    units = of_task(contract, "action-units", ("AU6", "AU12"), "logits")
    np.testing.assert_allclose(units.answers(np.array([[0.0, np.log(3.0)]])), [[0.5, 0.75]], rtol=1e-6)


def test_a_contract_of_values_round_trips_with_its_figures(contract: ModelContract) -> None:
    affect = of_task(contract, "valence-arousal", ("valence", "arousal"), "values")
    full = dataclasses.replace(affect, measured_values=(ValueMeasurement(**VALUES_OF_ONE),))
    assert parse_contract(full.to_json(), "model") == full


def test_a_classifiers_contract_stays_readable_for_an_older_runtime(contract: ModelContract) -> None:
    table = json.loads(contract.to_json())
    assert table["schema_version"] == 1
    assert "measured_values" not in table


@pytest.mark.parametrize(
    ("task", "labels", "numbers", "name"),
    [
        ("positive-negative", ("negative", "positive"), [0.2, 0.8], "positive"),
        ("valence-arousal", ("valence", "arousal"), [0.75, 0.4], "happiness"),
        ("valence-arousal", ("valence", "arousal"), [0.05, -0.1], "neutral"),
        ("smile-intensity", ("smile",), [0.9], "smile"),
        ("action-units", ("AU6", "AU12", "AU4"), [0.9, 0.5, 0.1], "AU6+AU12"),
        ("action-units", ("AU6", "AU12", "AU4"), [0.1, 0.1, 0.1], "none"),
    ],
)
def test_every_task_has_a_name_for_what_it_sees(
    task: str, labels: tuple[str, ...], numbers: list[float], name: str
) -> None:
    assert TASKS[task].name_of(np.array(numbers), labels) == name


def test_the_packaged_model_carries_the_contract_beside_it(default_model: Path) -> None:
    from fer_edge.classifier import Classifier

    beside = parse_contract(Path(f"{default_model}.json").read_text(), "json")
    assert Classifier(default_model).contract == beside
