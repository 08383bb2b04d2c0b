"""The parts that a .pt2 file may have: tensors and a graph, and nothing that runs code.

torch.export.load would also unpickle, evaluate formulas and load native code. Such a file is refused before torch opens
it.
"""

import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from fer_edge.errors import ModelError

from export.adopt.network import first_line
from export.quiet import quiet

_PARTS = re.compile(
    r"[^/]+/(?:archive_format|archive_version|byteorder|\.data/\w+|models/model\.json"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json)"
    r"|data/constants/(?:tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt|extra/[^/]+)"
)
_CALLS = re.compile(
    r"(?:torch\.ops\.(?:aten|prims|prim)\.(?!from_file)\w+(?:\.\w+)?|torch\.ops\.higher_order\.\w+"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_\w+|math\.(?:ceil|floor|trunc))"
)
# Sizes such as 2*s27 + 1 or Symbol('s27', integer=True), which torch hands to sympy, and sympy to Python's own eval.
_FORMULA = re.compile(
    r"(?:'[a-z]{1,8}\d+'|[a-z]{1,8}\d+|[A-Z][A-Za-z]{0,24}|[a-z]{1,24}=(?=True|False)|[-+*/(), <>=]|\d)*"
)
_LARGEST_TABLE = 1 << 28


def load_program(path: Path) -> torch.export.ExportedProgram:
    """The program of a file of torch.export.save. Raises ModelError where it holds code, or is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            _require_no_code(archive)
    except (zipfile.BadZipFile, ValueError, KeyError, RecursionError) as error:
        raise ModelError(f"{path}: not a file of torch.export.save ({error}). Save it again.") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    with quiet(), _tensors_alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.load(path)
        except UnpicklingError:
            raise ModelError(
                f"{path}: holds a pickle of more than tensors, which may run code. Save it again."
            ) from None
        except Exception as error:  # torch raises what it likes
            raise ModelError(f"{path}: not a program of torch.export ({first_line(error)}). Save it again.") from None


def _require_no_code(archive: zipfile.ZipFile) -> None:
    names = [entry.filename for entry in archive.infolist()]
    strange = [name for name in names if not _PARTS.fullmatch(name)]
    if strange or len(set(names)) < len(names):
        raise ModelError(
            f"holds {strange[0] if strange else 'a part twice'}, which is no part of a program of tensors and may run "
            "code. Save it with torch.export.save of the installed version."
        )
    for name in (name for name in names if name.endswith(".json")):
        if archive.getinfo(name).file_size > _LARGEST_TABLE:
            raise ModelError(f"{name} is too large for the table of a program. Save it again.")
        for key, value in _entries(json.loads(archive.read(name))):
            if key == "use_pickle" and value is not False:
                raise ModelError("holds pickled weights, and a pickle runs code when it is opened. Save it again.")
            if key == "target" and isinstance(value, str) and "." in value and not _is_harmless(value):
                raise ModelError(
                    f"calls {value[:60]}, which is no operator of tensors and may run code. Save it again."
                )
            if key == "expr_str" and not _FORMULA.fullmatch(str(value)):
                raise ModelError(f"holds the formula {str(value)[:60]!r}, which may run code. Save it again.")


def _is_harmless(target: str) -> bool:
    """Whether what a node calls, or an output names, is an operator of tensors or the name of a weight."""
    return bool(_CALLS.fullmatch(target)) or not target.startswith(("torch", "_operator", "math", "#"))


def _entries(table: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of tables in tables."""
    if isinstance(table, dict):
        for key, value in table.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(table, list):
        for value in table:
            yield from _entries(value)


@contextmanager
def _tensors_alone() -> Iterator[None]:
    """torch.load takes tensors alone inside the block, whatever its callers ask for."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    kept = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if kept is None:
            del os.environ[name]
        else:
            os.environ[name] = kept
