"""Any contract comes back from its JSON as it was; a changed one is refused in one line, or says what was changed."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.contract import SCHEMA_VERSION, InputSpec, ModelContract, TemplatePoint, lowest_schema, parse_contract
from fer_edge.errors import ModelError

from tests.runtime.fakes.contracts import contracts

# What a wrong or hostile program may write in place of any value.
HOSTILE = (None, True, -1, 0, 7, 10**9, 2**60, 1e-320, 1e308, -0.5, "", "grey", "\x1b[31m", "x" * 5000, [], {}, [[]])
RGB = InputSpec(height_px=112, width_px=96, colour="rgb", layout="NHWC", dtype="float32", low=0, high=255)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a table or list of JSON."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [found for key, item in items for found in ((*path, key), *paths_of(item, (*path, key)))]


def parent_of(table: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        table = table[key]
    return table


def outcome(table: Any) -> ModelContract | str:
    """The contract, or the message of its refusal."""
    try:
        return parse_contract(json.dumps(table), "model.onnx")
    except ModelError as error:
        return str(error)


@settings(max_examples=80)
@given(contracts())
def test_any_contract_comes_back_as_it_was(contract: ModelContract) -> None:
    assert parse_contract(contract.to_json(), "model") == contract


@settings(max_examples=80)
@given(contracts())
def test_a_contract_says_the_lowest_schema_and_only_the_keys_of_it(contract: ModelContract) -> None:
    version = contract.schema_version
    assert version == lowest_schema(contract)
    for higher in range(version, SCHEMA_VERSION + 1):
        as_higher = dataclasses.replace(contract, schema_version=higher)
        assert parse_contract(as_higher.to_json(), "model") == as_higher
    for lower in range(1, version):
        assert f"found {lower}" in (
            message := str(outcome({**json.loads(contract.to_json()), "schema_version": lower}))
        ) or (f"for schema {lower}" in message)


@settings(max_examples=300)
@given(contract=contracts(), data=st.data())
def test_a_changed_value_is_refused_in_one_line_or_is_what_the_contract_then_says(
    contract: ModelContract, data: st.DataObject
) -> None:
    table = json.loads(contract.to_json())
    path = data.draw(st.sampled_from(paths_of(table)))
    parent_of(table, path)[path[-1]] = data.draw(st.sampled_from(HOSTILE))
    said = outcome(table)
    if isinstance(said, ModelContract):
        assert json.loads(said.to_json()) == table
    else:
        assert said.startswith("model.onnx: ")
        assert "\n" not in said
        assert len(said) < 400


@settings(max_examples=100)
@given(contract=contracts(), data=st.data())
def test_a_key_too_many_is_always_refused(contract: ModelContract, data: st.DataObject) -> None:
    table = json.loads(contract.to_json())
    path = data.draw(
        st.sampled_from([(), *(p for p in paths_of(table) if isinstance(parent_of(table, (*p, "")), dict))])
    )
    parent_of(table, (*path, ""))["preprocessing"] = "none"
    assert "unknown key 'preprocessing'" in str(outcome(table))


@settings(max_examples=100)
@given(contract=contracts(), data=st.data())
def test_a_key_without_a_default_is_missed(contract: ModelContract, data: st.DataObject) -> None:
    table = json.loads(contract.to_json())
    required = [
        (part, field.name) for part in ("", "input", "face_crop", "output") for field in _required(contract, part)
    ]
    part, key = data.draw(st.sampled_from(required))
    del (table[part] if part else table)[key]
    assert f"{key} is missing" in str(outcome(table))


def _required(contract: ModelContract, part: str) -> list[Any]:
    fields = dataclasses.fields(getattr(contract, part) if part else contract)
    return [field for field in fields if field.default is dataclasses.MISSING]


def rgb(contract: ModelContract, **changes: Any) -> dict[str, Any]:
    """The table of a contract of schema 3, with changes by part and key."""
    table = json.loads(dataclasses.replace(contract, input=RGB, schema_version=3).to_json())
    for path, value in changes.items():
        part, _, key = path.rpartition("__")
        (table[part] if part else table)[key] = value
    return table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input__mean": [0.0], "input__std": [1.0]}, "with 1 means and 1 stds, expected 3 of each for rgb"),
        ({"input__mean": [0.0] * 3}, "with 3 means and 0 stds"),
        ({"input__std": [1.0] * 3}, "with 0 means and 3 stds"),
        ({"input__mean": [0.0] * 3, "input__std": [0.0] * 3}, "std is 0.0, expected 0.001 to 1000"),
        (
            {"input__mean": [0] * 3, "input__std": [1] * 3, "input__dtype": "uint8"},
            "mean and std for uint8, expected float",
        ),
        ({"input__colour": "yuv"}, "colour is 'yuv', expected one of grey, rgb, bgr"),
        ({"task": "classes", "labels": ["only"]}, "task classes with 1 labels"),
        ({"task": "classes", "labels": []}, "task classes with 0 labels"),
        ({"task": "classes", "output__meaning": "values"}, "gives values, expected logits or probabilities"),
        ({"output__name": "a", "output__index": 1}, "a name and an index, expected one of them"),
        ({"output__index": -1}, "index is -1, expected 0 to 999"),
        ({"face_crop__alignment": "five-point"}, "alignment five-point with 0 templates"),
        ({"face_crop__template": "arcface-112"}, "alignment none with 1 templates"),
        (
            {"face_crop__alignment": "five-point", "face_crop__template": "dlib"},
            "template is 'dlib', expected one of arc",
        ),
        (
            {"face_crop__alignment": "five-point", "face_crop__template_points": [{"x": 0.3, "y": 0.3}] * 4},
            "4 template_points, expected 5",
        ),
        (
            {"face_crop__alignment": "five-point", "face_crop__template_points": [{"x": 0.3, "y": 0.3}] * 5},
            "both eyes in one place",
        ),
        (
            {"face_crop__alignment": "five-point", "face_crop__template_points": [{"x": 9, "y": 0.3}] * 5},
            "x is 9.0, expected -0.5 to 1.5",
        ),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    contract: ModelContract, changes: dict[str, Any], message: str
) -> None:
    assert message in str(outcome(rgb(contract, **changes)))


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"input__colour": "RGB"}, "did you mean rgb?"),
        ({"input__layout": "NCWH"}, "did you mean NCHW?"),
        ({"input__dtype": "float"}, "did you mean float"),
        ({"face_crop__alignment": "five_point"}, "did you mean five-point?"),
        ({"face_crop__alignment": "five-point", "face_crop__template": "arcface"}, "did you mean arcface-112?"),
        ({"task": "class"}, "did you mean classes?"),
        ({"output__meaning": "softmax"}, "expected one of logits, probabilities, values"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(
    contract: ModelContract, changes: dict[str, Any], near: str
) -> None:
    assert near in str(outcome(rgb(contract, **changes)))


def test_a_contract_is_not_written_in_a_schema_that_would_leave_something_out(contract: ModelContract) -> None:
    scaled = dataclasses.replace(contract, input=dataclasses.replace(RGB, mean=(127.5,) * 3, std=(127.5,) * 3))
    with pytest.raises(ModelError, match=r"schema 1 cannot express it, expected 3 or more\. Use in_lowest_schema"):
        scaled.to_json()
    assert json.loads(scaled.in_lowest_schema().to_json())["input"]["mean"] == [127.5] * 3


def test_a_template_of_ones_own_is_five_points_of_the_crop(contract: ModelContract) -> None:
    points = tuple(TemplatePoint(x=x, y=y) for x, y in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)))
    own = dataclasses.replace(contract.face_crop, alignment="five-point", template_points=points)
    assert own.template_px(100, 200)[1].tolist() == [140.0, 40.0]


def test_a_named_template_lies_in_the_middle_of_a_crop_that_is_not_square(contract: ModelContract) -> None:
    arcface = dataclasses.replace(contract.face_crop, alignment="five-point", template="arcface-112")
    assert arcface.template_px(112, 112)[0].tolist() == pytest.approx([38.2946, 51.6963])
    assert arcface.template_px(112, 132)[0].tolist() == pytest.approx([48.2946, 51.6963])
