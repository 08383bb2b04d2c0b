"""The model contract: round trip, refusals, and what it says about inputs and outputs."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.contract import SCHEMA_VERSION, InputSpec, Measurement, ModelContract, parse_contract
from fer_edge.errors import ModelError


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
        ({"task": "valence-arousal"}, "task is 'valence-arousal', expected one of"),
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
    np.testing.assert_allclose(warm.probabilities(logits), [[0.25, 0.75]], atol=1e-6)


def test_the_packaged_model_carries_the_contract_beside_it(default_model: Path) -> None:
    from fer_edge.classifier import Classifier

    beside = parse_contract(Path(f"{default_model}.json").read_text(), "json")
    assert Classifier(default_model).contract == beside
