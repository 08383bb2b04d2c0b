"""The reference page of the Python API: every public name with its signature, fields and docstring, from the code."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator

import fer_edge
from fer_edge import errors

_WIDTH = 100
_ARRAY = re.compile(r"numpy\.ndarray\[tuple\[[\w.]+, \.\.\.\], numpy\.dtype\[([\w.]+)\]\]")
_OPTIONAL = re.compile(r"Optional\[(\w+)\]")
_MODULE = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")


def page(note: str) -> str:
    """Return the page, `note` below its title."""
    parts = [
        "# Names of the Python API\n",
        note,
        "The public names of `fer_edge`; [Python API](python-api.md) shows them at work. `np` is numpy, `NDArray` that "
        "of `numpy.typing`.\n",
    ]
    for name in sorted(set(fer_edge.__all__) - {"__version__"}, key=str.lower):
        parts.append(f"## `{name}`\n")
        parts += _entry(name, getattr(fer_edge, name))
    parts.append("## `__version__`\n\nThe version, as text: `MAJOR.MINOR.PATCH`.\n")
    return "\n".join(parts)


def _entry(name: str, value: Callable[..., object]) -> Iterator[str]:
    """Yield the parts of one name: its call, what it does, its fields, properties and methods."""
    if not isinstance(value, type):
        yield from _described(_call(name, value), value)
    elif issubclass(value, Exception):
        yield _text(value)
        yield from _errors(value)
    elif dataclasses.is_dataclass(value):
        yield _text(value)
        yield from _fields(value)
        yield from _members(value)
    else:
        yield from _described(_call(name, value), value)
        yield from _members(value)


def _errors(base: type) -> Iterator[str]:
    """Yield a table of the errors and the exit codes the command line gives them."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, base)]
    yield "| error | exit code | raised for |\n|---|---|---|"
    for kind in kinds:
        yield f"| `{kind.__name__}` | {kind.exit_code} | {' '.join(_text(kind).split())} |"
    yield "\nAll but the base are in `fer_edge.errors`.\n"


def _fields(kind: type) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    yield "| field | type | default |\n|---|---|---|"
    for field in dataclasses.fields(kind):
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        if field.default_factory is not dataclasses.MISSING:
            default = f"`{field.default_factory.__name__}()`"
        kind_of = _type(hints[field.name]).replace("|", "\\|")
        yield f"| `{field.name}` | `{kind_of}` | {default} |"
    yield ""


def _members(kind: type) -> Iterator[str]:
    """Yield the call, properties and methods that `kind` defines, in the order of its source."""
    for name, member in vars(kind).items():
        if isinstance(member, property):
            shown = f"{name}: {_type(inspect.signature(member.fget).return_annotation)}"  # type: ignore[arg-type]
            yield from _heading(kind, name, shown, member)
        elif inspect.isfunction(member) and (not name.startswith("_") or name == "__call__"):
            own = "" if name == "__call__" else name
            yield from _heading(kind, name, _call(own or kind.__name__.lower(), member), member)


def _heading(kind: type, name: str, shown: str, member: object) -> Iterator[str]:
    yield f"### `{kind.__name__}.{name}`\n"
    yield from _described(shown, member)


def _described(shown: str, value: object) -> Iterator[str]:
    yield f"```text\n{shown}\n```\n"
    yield _text(value)


def _text(value: object) -> str:
    """The docstring, a paragraph a line."""
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(value) or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) + "\n"


def _call(name: str, function: Callable[..., object]) -> str:
    """The call with types and defaults, a parameter a line where one line does not hold it."""
    signature = inspect.signature(function)
    parameters, starred = [], False
    for parameter in (one for one in signature.parameters.values() if one.name != "self"):
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parameters.append("*")
            starred = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{parameter.name}: {_type(parameter.annotation)}{default}")
    result = signature.return_annotation
    ending = ")" if result is signature.empty or isinstance(function, type) else f") -> {_type(result)}"
    line = f"{name}({', '.join(parameters)}{ending}"
    if len(line) <= _WIDTH:
        return line
    rows = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{name}(\n{rows}{ending}"


def _type(hint: object) -> str:
    """A type as the code writes it, without the modules of classes."""
    text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    text = _ARRAY.sub(lambda found: f"NDArray[{found[1].replace('numpy.', 'np.')}]", text)
    return _MODULE.sub("", _OPTIONAL.sub(r"\1 | None", text))
