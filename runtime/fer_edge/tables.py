"""Strict tables: TOML and JSON that people or other programs wrote, read into frozen dataclasses.

Every refusal is one line with the file, the place in it, what was expected and what was found. Texts and numbers are
bounded before anything else sees them. `error` says what a refusal is raised as: UsageError, DataError or ModelError.

A field of a dataclass may be bounded by its annotation: `Annotated[int, Range(1, 8)]`, `Annotated[str, Text(64)]`.
"""

import dataclasses
import datetime
import difflib
import importlib
import json
import math
import re
import sys
import types
import typing
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.files import read_bytes
from fer_edge.redaction import HIDDEN

Refusal = type[FerEdgeError]
Row = TypeVar("Row")

_SHOWN_CHARS = 40
# TOML's reader takes time by the square of the nesting, so what people write by hand is held to what people write.
_TEXT_BYTES = 1 << 18
_JSON_BYTES = 1 << 26
WHOLE_NUMBER = re.compile(r"[-+]?[0-9]{1,16}", re.ASCII)
_DEEPEST = 32
# Whole numbers that a double holds exactly; JSON and TOML writers agree on no larger ones.
_GREATEST_WHOLE = 2**53
# The invisible characters that some scripts and emoji are written with; every other format character is refused.
_JOINERS = ("\u200c", "\u200d")
# What tomllib quotes of a file: a letter, or the name of a table, which may be a secret in the wrong place.
_QUOTED_BY_TOML = re.compile(r"""(['\"]).{2,}\1""", re.DOTALL)


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included."""

    low: float
    high: float

    def __str__(self) -> str:
        return " to ".join(f"{bound:.15g}" for bound in (self.low, self.high))


@dataclass(frozen=True)
class Text:
    """Bounds of a text: its length, and what the whole of it must match, with an example for the message."""

    max_chars: int
    pattern: str | None = None
    example: str = ""


def shown(value: object) -> str:
    """`value` as a message may show it: a text or number cut short, anything else by its kind alone."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}..."
        return repr(cut)
    if isinstance(value, int) and abs(value) > _GREATEST_WHOLE:
        return "a huge whole number"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value!r}"
    return kind_of(value)


def kind_of(value: object) -> str:
    """The kind of a value of TOML or JSON, in words; safe where the value itself may be a secret."""
    kinds: tuple[tuple[Any, str], ...] = (
        (str, "text"),
        ((int, float), "a number"),
        ((list, tuple), "a list"),
        (dict, "a table"),
        ((datetime.date, datetime.time), "a date or time"),
    )
    if isinstance(value, bool):
        return "true" if value else "false"
    return next((words for kind, words in kinds if isinstance(value, kind)), "nothing")


def nearest(word: str, known: Iterable[str]) -> str:
    """A clause for a message about the unknown `word`: the nearest of `known`, whatever the case, or all of them."""
    known = sorted(known)
    by_letters = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1, cutoff=0.5)
    return f"; did you mean {by_letters[near[0]]}?" if near else f"; known: {', '.join(known)}."


def unprintable(text: str) -> str | None:
    """The reason why `text` must not reach a terminal, a file or OpenCV, None where it may.

    Refused are control characters, overrides of the writing direction and other invisible format characters, halves of
    surrogate pairs, and characters that Unicode has not assigned.
    """
    for char in text:
        category = unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp") and char not in _JOINERS:
            return f"the character U+{ord(char):04X}, which cannot be printed"
    return None


def read_text(path: Path, error: Refusal = UsageError, *, limit_bytes: int = _TEXT_BYTES) -> str:
    """A text file as editors save it: UTF-8, with a byte-order mark or without. Raises `error`."""
    data = read_bytes(path, error, limit_bytes=limit_bytes)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(f"{path}: the text is UTF-16, expected UTF-8. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{path}, line {line}: byte 0x{data[problem.start]:02X} is not UTF-8. Save the file as UTF-8."
        ) from None


def read_toml(path: Path, error: Refusal = UsageError) -> dict[str, Any]:
    """The tables of a TOML file. Raises `error`."""
    return parse_toml(read_text(path, error), str(path), error)


def parse_toml(text: str, where: str, error: Refusal = UsageError) -> dict[str, Any]:
    """The tables of a TOML text. Raises `error` naming `where`."""
    # The standard library has a reader from Python 3.11 on; before, its model does the work.
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        tables: dict[str, Any] = toml.loads(text)
    except RecursionError:
        raise error(f"{where}: not valid TOML: nested too deeply.") from None
    except ValueError as problem:
        raise error(f"{where}: not valid TOML: {cut(_QUOTED_BY_TOML.sub(HIDDEN, str(problem)))}.") from None
    if _too_deep(tables):
        raise error(f"{where}: not valid TOML: nested too deeply.")
    return tables


def read_json(path: Path, error: Refusal) -> Any:
    """The value of a JSON file. Raises `error`."""
    return parse_json(read_text(path, error, limit_bytes=_JSON_BYTES), str(path), error)


def parse_json(text: str, where: str, error: Refusal) -> Any:
    """The value of a JSON text: no NaN, no infinity, no key twice. Raises `error` naming `where`."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_whole)
    except RecursionError:
        raise error(f"{where}: not JSON: nested too deeply.") from None
    except ValueError as problem:
        raise error(f"{where}: not JSON: {cut(problem)}.") from None
    if _too_deep(value):
        raise error(f"{where}: not JSON: nested too deeply.")
    return value


def _too_deep(value: object) -> bool:
    """Whether lists and tables lie in one another deeper than any table here does; whoever walks them may recurse."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {shown(twice)} is there twice")
    return table


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _whole(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def cut(problem: object) -> str:
    """Return what a library said, on one line and short, without its full stop."""
    text = " ".join(str(problem).split()).rstrip(".")
    return text if len(text) <= 200 else f"{text[:200]}..."


def build(kind: type[Row], table: object, where: str, error: Refusal, remedy: str = "") -> Row:
    """Fill the dataclass `kind` from a table of TOML or JSON.

    Raises `error`, followed by `remedy`, for an unknown key, a missing one, and a value of another type or outside its
    bounds; `where` names the table.
    """
    return _Builder(error, f" {remedy}" if remedy else "").section(kind, table, where)


def checked(hint: Any, value: object, where: str, error: Refusal) -> Any:
    """Return `value` as the type `hint` has it. Raises `error` naming `where`, as `build` does for a field."""
    return _Builder(error, "").value(hint, value, where)


@dataclass(frozen=True)
class _Builder:
    error: Refusal
    remedy: str

    def section(self, kind: type[Row], table: object, where: str) -> Row:
        if not isinstance(table, dict):
            raise self.refused(f"{where}: {kind_of(table)}, expected a table.")
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        for name in table:
            if name not in fields:
                raise self.error(f"{where}: unknown key {shown(name)}{nearest(name, fields)}")
        values = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self.value(hints[name], table[name], f"{where}, {name}")
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise self.refused(f"{where}: {name} is missing.")
        return kind(**values)

    def value(self, hint: Any, value: object, where: str) -> Any:
        """`value` as `hint` asks for it."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            return self.bounded(self.value(arguments[0], value, where), arguments[1:], where)
        if origin is Literal:
            if value not in arguments or isinstance(value, bool) != any(isinstance(one, bool) for one in arguments):
                raise self.refused(f"{where} is {shown(value)}, expected one of {', '.join(map(str, arguments))}.")
            return value
        if origin in (types.UnionType, typing.Union):
            if value is None and type(None) in arguments:
                return None
            return self.value(next(one for one in arguments if one is not type(None)), value, where)
        if origin in (tuple, list):
            return tuple(self.value(arguments[0], item, where) for item in self.of_kind(list, value, where, "a list"))
        if origin is dict:
            items = self.of_kind(dict, value, where, "a table").items()
            return {key: self.value(arguments[1], item, f"{where}, {key}") for key, item in items}
        return self.plain(hint, value, where)

    def plain(self, kind: Any, value: Any, where: str) -> Any:
        if kind is Any:
            return value
        if dataclasses.is_dataclass(kind):
            return self.section(typing.cast("type[Any]", kind), value, where)
        if kind is float:
            return self.number(value, where)
        words = {str: "text", int: "a whole number", bool: "true or false"}[kind]
        if kind is int and not isinstance(value, bool) and isinstance(value, int) and abs(value) > _GREATEST_WHOLE:
            raise self.refused(f"{where} is {shown(value)}, expected a smaller one.")
        if kind is not bool and isinstance(value, bool):
            raise self.refused(f"{where} is {shown(value)}, expected {words}.")
        return self.of_kind(kind, value, where, words)

    def number(self, value: Any, where: str) -> float:
        # TOML and JSON write 1.0 as they like, so a whole number is accepted for a float; true never is.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refused(f"{where} is {shown(value)}, expected a number.")
        if abs(value) > 1e300 or math.isnan(value):
            raise self.refused(f"{where} is {shown(value)}, expected a finite number.")
        return float(value)

    def of_kind(self, kind: type[Row], value: Any, where: str, words: str) -> Row:
        if not isinstance(value, kind):
            raise self.refused(f"{where} is {shown(value)}, expected {words}.")
        return value

    def bounded(self, value: Any, bounds: Iterable[object], where: str) -> Any:
        for bound in bounds:
            if isinstance(bound, Range) and value is not None and not bound.low <= value <= bound.high:
                raise self.refused(f"{where} is {shown(value)}, expected {bound}.")
            if isinstance(bound, Text) and value is not None:
                self.text(value, bound, where)
        return value

    def text(self, value: str, bound: Text, where: str) -> None:
        if len(value) > bound.max_chars:
            raise self.refused(f"{where} has {len(value)} characters, expected {bound.max_chars} at most.")
        if reason := unprintable(value):
            raise self.refused(f"{where} holds {reason}.")
        if bound.pattern is not None and not re.fullmatch(bound.pattern, value):
            raise self.refused(f"{where} is {shown(value)}, expected a text such as {bound.example}.")

    def refused(self, message: str) -> FerEdgeError:
        return self.error(message + self.remedy)
