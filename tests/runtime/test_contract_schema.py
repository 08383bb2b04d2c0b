"""The contract's JSON Schema: every contract conforms to it, and what it refuses the runtime refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.contract import ModelContract, parse_contract
from fer_edge.contract_schema import json_schema
from fer_edge.errors import ModelError

from tests.conftest import ROOT

pytest.importorskip("hypothesis", reason="hypothesis is absent; `make setup` brings it")
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.fakes.contracts import contracts

KINDS: dict[str, tuple[type, ...]] = {
    **{"string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)},
    **{"null": (type(None),), "array": (list,), "object": (dict,)},
}


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    """The keywords this schema has, read as draft 2020-12 says."""
    known = {"$schema", "title", "type", "properties", "required", "additionalProperties"}
    assert set(schema) <= known | {"items", "enum", "anyOf", "minimum", "maximum", "maxLength"}
    if "enum" in schema:
        return value in schema["enum"] and not isinstance(value, bool)
    if "anyOf" in schema:
        return any(conforms(value, one) for one in schema["anyOf"])
    kind = schema["type"]
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if kind == "object":
        known_keys = schema["properties"]
        within = set(schema["required"]) <= set(value) <= set(known_keys)
        return within and all(conforms(item, known_keys[key]) for key, item in value.items())
    if kind == "array":
        return all(conforms(item, schema["items"]) for item in value)
    if kind == "string":
        return len(value) <= schema.get("maxLength", len(value))
    if kind in ("boolean", "null"):
        return True
    return schema.get("minimum", value) <= value <= schema.get("maximum", value)


def edited(contract: ModelContract, path: str, value: object) -> dict[str, Any]:
    """The contract's table with another value in one place."""
    table = json.loads(contract.to_json())
    part, _, key = path.rpartition("__")
    (table[part] if part else table)[key] = value
    return table


@settings(max_examples=200)
@given(contracts())
def test_any_contract_conforms(contract: ModelContract) -> None:
    assert conforms(json.loads(contract.to_json()), json_schema())


@settings(max_examples=100)
@given(contracts(), st.sampled_from(["", 7, -1, None, True, "RGB", [], {}, 1e9, "x" * 5000]))
def test_what_does_not_conform_is_refused(contract: ModelContract, hostile: object) -> None:
    for path in ("task", "labels", "precision", "input__colour", "input__height_px", "output__temperature"):
        table = edited(contract, path, hostile)
        if not conforms(table, json_schema()):
            with pytest.raises(ModelError):
                parse_contract(json.dumps(table), "model")


def test_an_unknown_key_does_not_conform(contract: ModelContract) -> None:
    assert not conforms(edited(contract, "input__gamma", 2.2), json_schema())


def test_the_published_schema_is_the_one_of_the_code() -> None:
    published: Path = ROOT / "docs" / "model-contract.schema.json"
    assert json.loads(published.read_text()) == json_schema(), "python -m fer_edge.contract_schema > docs/..."
