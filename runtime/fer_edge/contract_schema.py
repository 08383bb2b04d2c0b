"""The contract's format as JSON Schema (draft 2020-12), for editors and for programs that write contracts.

It says the keys, types, choices and bounds. What keys have to do with each other, only `parse_contract` checks.
`python -m fer_edge.contract_schema` prints it.
"""

import dataclasses
import json
import types
import typing
from typing import Annotated, Any

from fer_edge.contract import SCHEMA_VERSION, ModelContract
from fer_edge.contract_checks import CHOICES
from fer_edge.tables import Range, Text

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema() -> dict[str, Any]:
    """The schema of a contract of any version up to SCHEMA_VERSION."""
    schema = _object(ModelContract)
    schema["properties"]["schema_version"] = {"enum": list(range(1, SCHEMA_VERSION + 1))}
    schema["required"] = ["schema_version", *schema["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"fer-edge model contract, schema {SCHEMA_VERSION}",
        **schema,
    }


def _object(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    found: dict[str, Any] = {field.name: _value(hints[field.name], field.name) for field in fields}
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    return {"type": "object", "properties": found, "required": required, "additionalProperties": False}


def _value(hint: Any, name: str) -> dict[str, Any]:
    if name in CHOICES:
        return {"enum": list(CHOICES[name])}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return {**_value(arguments[0], name), **_bounds(arguments[1:])}
    if origin in (types.UnionType, typing.Union):
        given = next(one for one in arguments if one is not type(None))
        return {"anyOf": [_value(given, name), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _value(arguments[0], name)}
    return _object(hint) if dataclasses.is_dataclass(hint) else {"type": _PLAIN[hint]}


def _bounds(bounds: tuple[object, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for bound in bounds:
        if isinstance(bound, Range):
            found |= {"minimum": bound.low, "maximum": bound.high}
        if isinstance(bound, Text):
            found |= {"maxLength": bound.max_chars}
    return found


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
