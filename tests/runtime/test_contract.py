"""The model contract: round trip, refusals, and what it says about inputs and outputs."""

import dataclasses
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.contract import (
    SCHEMA_VERSION,
    TEMPLATES,
    InputSpec,
    Measurement,
    ModelContract,
    TemplatePoint,
    ValueMeasurement,
    parse_contract,
)
from fer_edge.errors import ModelError
from fer_edge.tasks import TASKS

# Labels of any script: letters, marks, numbers, punctuation and symbols, such as emoji.
READABLE = st.text(st.characters(categories=("L", "M", "N", "P", "S")), min_size=1, max_size=64)
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
    labels=st.lists(READABLE, min_size=7, max_size=7, unique_by=lambda label: unicodedata.normalize("NFC", label)),
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
        ({"input__gamma": 2.2}, "input: unknown key 'gamma'; known"),
        ({"labels": dataclasses.MISSING}, "labels is missing"),
        ({"input__dtype": "float64"}, "dtype is 'float64', expected one of"),
        ({"input__height_px": "48"}, "height_px is '48', expected a whole number"),
        ({"input__height_px": True}, "height_px is true, expected a whole number"),
        ({"input__width_px": 0}, "width_px is 0, expected 1 to 1024"),
        ({"input__low": -128}, "range -128..255 does not fit uint8"),
        ({"task": "mind-reading"}, "task is 'mind-reading'"),
        ({"face_crop__margin": 9}, "margin is 9.0, expected -0.4 to 2"),
        ({"face_crop__detector_margins": [{"detector": "x", "margin": -1}]}, "margin is -1.0"),
        ({"face_crop__detector_margins": [{"detector": "x"}]}, "margin is missing"),
        ({"output__temperature": 0}, "temperature is 0.0"),
        ({"labels": ["sad"] * 7}, "label 'sad' is there twice"),
        ({"labels": ["sad", "happy"]}, "task expression7 with 2 labels"),
        ({"task": "valence-arousal"}, "task valence-arousal with 7 labels"),
        ({"task": "valence-arousal", "labels": ["valence", "arousal"]}, "gives logits, expected values"),
        ({"output__meaning": "values"}, "task expression7 gives values, expected logits or probabilities"),
        ({"task": "positive-negative", "labels": ["negative", "positive"]}, "needs schema 2, found 1"),
        ({"measured_values": [VALUES_OF_ONE]}, "unknown key 'measured_values' for schema 1"),
        ({"task": "action-units", "labels": []}, "task action-units with 0 labels"),
        ({"schema_version": 0}, "schema 0, expected 1"),
        ({"output__temperature": float("inf")}, "Infinity is no number of JSON"),
        ({"output__temperature": float("nan")}, "NaN is no number of JSON"),
        ({"output__temperature": 1e-320}, "temperature is 1e-320, expected 0.001 to 1000"),
        ({"input__height_px": 10**9}, "height_px is 1000000000, expected 1 to 1024"),
        ({"schema_version": True}, "no schema_version"),
        ({"labels": 7}, "labels is 7, expected a list"),
        ({"labels": {"sad": 1}}, "labels is a table, expected a list"),
        ({"output": []}, "output: a list, expected a table"),
        ({"name": None}, "name is nothing, expected text"),
        ({"measured": [{"dataset": "FER2013"}]}, "split is missing"),
    ],
)
def test_a_contract_this_runtime_cannot_honour_is_refused(
    contract: ModelContract, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=rf"^model\.onnx: .*{message}"):
        parse_contract(changed(contract, **changes), "model.onnx")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("\ud800", r"U\+D800, which cannot be printed"),
        ("happy\x1b[31m", r"U\+001B"),
        ("\u202eyppah", r"U\+202E"),
        ("happy\n", r"U\+000A"),
        ("", "is empty"),
        (" happy", "begins or ends with a space"),
        ("h" * 65, "has 65 characters, expected 64 at most"),
    ],
)
def test_a_label_that_could_not_be_shown_everywhere_is_refused(
    contract: ModelContract, label: str, message: str
) -> None:
    """OpenCV dies of half a surrogate pair, and terminals obey escape sequences."""
    with pytest.raises(ModelError, match=message):
        parse_contract(changed(contract, labels=[label, *contract.labels[1:]]), "model.onnx")


def test_labels_that_look_the_same_are_the_same(contract: ModelContract) -> None:
    labels = ["wu\u0308tend", "w\u00fctend", *contract.labels[2:]]
    with pytest.raises(ModelError, match="label 'w\u00fctend' is there twice"):
        parse_contract(changed(contract, labels=labels), "model.onnx")


def test_labels_of_any_script_are_taken(contract: ModelContract) -> None:
    labels = ["wütend", "dégoût", "خوش‌حال", "😀", "중립", "中性", "печаль"]
    assert parse_contract(changed(contract, labels=labels), "model.onnx").labels == tuple(labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"schema_version": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ('{"schema_version": 1, "schema_version": 1}', "'schema_version' is there twice"),
        ('{"a": ' * 1000 + "1" + "}" * 1000, "nested too deeply|no schema_version"),
        ("7", "no schema_version"),
        (" " * 2_000_000, "2000000 characters, expected 1048576 at most"),
    ],
)
def test_a_text_that_is_no_contract_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        parse_contract(text, "model")
    assert len(str(refused.value)) < 300


def test_a_number_too_large_for_a_float_is_refused(contract: ModelContract) -> None:
    huge = json.dumps(contract.output.temperature), "1" + "0" * 400
    with pytest.raises(ModelError, match="a whole number of 401 digits"):
        parse_contract(changed(contract).replace(f'"temperature": {huge[0]}', f'"temperature": {huge[1]}'), "model")


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


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("meaning", ["logits", "probabilities"])
def test_answers_are_float32_whatever_the_model_gives(contract: ModelContract, meaning: str, kind: type) -> None:
    output = dataclasses.replace(contract.output, meaning=meaning)
    answers = dataclasses.replace(contract, output=output).answers(np.eye(7).astype(kind))
    assert answers.dtype == np.float32
    many = dataclasses.replace(contract, task="action-units", labels=tuple("abcdefg"), output=output)
    assert many.answers(np.eye(7).astype(kind)).dtype == np.float32


def test_probabilities_of_the_model_are_the_answers(contract: ModelContract) -> None:
    """Also those of a model that needs no temperature: nothing is scaled twice."""
    output = dataclasses.replace(contract.output, meaning="probabilities", temperature=2.0)
    rows = np.float32([[0.7, 0.3, 0, 0, 0, 0, 0], [0.1] * 6 + [0.4]])
    np.testing.assert_array_equal(dataclasses.replace(contract, output=output).answers(rows), rows)


def test_each_detector_has_its_own_margin_and_all_others_the_common_one(contract: ModelContract) -> None:
    crop = contract.face_crop
    assert (crop.margin_for("yunet"), crop.margin_for("mediapipe")) == (-0.02, 0.05)
    assert dataclasses.replace(crop, detector_margins=()).margin_for("yunet") == 0.05


def test_a_named_template_is_centred_in_a_crop_that_is_not_square(contract: ModelContract) -> None:
    name = next(iter(TEMPLATES))
    crop = dataclasses.replace(contract.face_crop, alignment="five-point", template=name)
    square = crop.template_px(100, 100)
    np.testing.assert_allclose(square, 100 * np.asarray(TEMPLATES[name]))
    np.testing.assert_allclose(crop.template_px(100, 160), square + np.array([30, 0]))
    np.testing.assert_allclose(crop.template_px(160, 100), square + np.array([0, 30]))


def test_template_points_are_fractions_of_width_and_height(contract: ModelContract) -> None:
    points = tuple(TemplatePoint(x=x, y=y) for x, y in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)))
    crop = dataclasses.replace(contract.face_crop, alignment="five-point", template_points=points)
    expected = [(60, 40), (140, 40), (100, 60), (70, 80), (130, 80)]
    np.testing.assert_allclose(crop.template_px(100, 200), expected)


FIVE = tuple(TemplatePoint(x=x, y=y) for x, y in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)))
ONE_EYE = (FIVE[0], FIVE[0], *FIVE[2:])


@pytest.mark.parametrize(
    ("alignment", "template", "points", "message"),
    [
        ("five-point", None, (), "alignment five-point with 0 templates, expected a template or template_points"),
        ("five-point", next(iter(TEMPLATES)), FIVE, "alignment five-point with 2 templates"),
        ("none", next(iter(TEMPLATES)), (), "alignment none with 1 templates, expected .* and neither for none"),
        ("none", None, FIVE, "alignment none with 1 templates"),
        ("five-point", "arkface", (), "template is 'arkface', expected one of .*"),
        ("five-point", None, FIVE[:4], "contract with 4 template_points, expected 5"),
        ("five-point", None, ONE_EYE, "template_points have both eyes in one place"),
    ],
)
def test_an_alignment_that_cannot_be_is_refused(
    contract: ModelContract, alignment: str, template: str | None, points: tuple[TemplatePoint, ...], message: str
) -> None:
    crop = dataclasses.replace(contract.face_crop, alignment=alignment, template=template, template_points=points)
    text = dataclasses.replace(contract, schema_version=SCHEMA_VERSION, face_crop=crop).to_json()
    with pytest.raises(ModelError, match=rf"^model\.onnx: .*{message}"):
        parse_contract(text, "model.onnx")
