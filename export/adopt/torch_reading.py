"""The network of a program of torch.export, or of a function that gives a torch module.

A program's file is read part by part: torch would run what a crafted one holds.
"""

import hashlib
import importlib
import io
import json
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import onnx
import torch
import torch.utils._pytree as pytree
from torch import nn

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import sha256_of
from fer_edge.tables import cut

from export.adopt.network import Hints, Network, first_line
from export.adopt.onnx_reading import IN_TRAINING, network_of_graph
from export.onnx_model import OPSET
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


def read_program(path: Path, hints: Hints) -> Network:
    """A program of torch.export.save, from a file that holds no code."""
    program = load_program(path)
    if _trains(program):
        raise ModelError(f"{path}: {IN_TRAINING}")
    try:
        with quiet():
            made = torch.onnx.export(program, dynamo=True, optimize=False)
        module = _Program(program)
    except Exception as error:  # torch raises what it likes
        raise ModelError(f"{path}: torch cannot export it to ONNX ({first_line(error)}).") from None
    assert made is not None
    opened = network_of_graph(made.model_proto, str(path), sha256_of(path), hints)
    return replace(opened, module=_Chosen(module, _position(opened)))


def _trains(program: torch.export.ExportedProgram) -> bool:
    """Whether it has a BatchNorm that takes its statistics from the faces it gets."""
    calls = [node for node in program.graph.nodes if "batch_norm" in str(node.target)]
    return any(len(call.args) > 5 and call.args[5] is True for call in calls)


def _position(network: Network) -> int:
    """Which of the outputs was chosen."""
    return [output.name for output in network.outputs].index(network.output.name)


def read_function(source: str, hints: Hints) -> Network:
    """`module:function` called without arguments gives the network, whose weights then come from a file."""
    module_name, _, function = source.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module_name), function)()
    except (Exception, SystemExit) as error:  # the user's own code
        raise ModelError(
            f"{source}: {type(error).__name__}: {first_line(error)}. It must give a torch module."
        ) from None
    finally:
        sys.path.pop(0)
    if not isinstance(made, nn.Module):
        raise ModelError(f"{source}: gives {type(made).__name__}, expected a torch.nn.Module.")
    if hints.size_px is None:
        raise UsageError(f"{source}: say the size of a face, --size HEIGHTxWIDTH.")
    digest = hashlib.sha256()
    if hints.weights is not None:
        digest.update(sha256_of(hints.weights).encode() if hints.weights.is_file() else b"")
        _load_weights(made, hints.weights)
    return _of_module(made.eval(), source, digest.hexdigest(), hints, channels=hints.channels or _channels_of(made))


def _load_weights(network: nn.Module, path: Path) -> None:
    """A .safetensors, or a .pt of tensors alone: nothing that runs code is read. Raises UsageError, ModelError."""
    if not path.is_file():
        raise UsageError(f"--weights {path}: no such file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise UsageError(
            f"--weights {path}: holds more than tensors, or is damaged; what else it holds may run code when it is "
            "opened. Save the weights alone, with torch.save(network.state_dict(), FILE)."
        ) from None
    except Exception as error:  # torch raises what it likes
        raise UsageError(f"--weights {path}: cannot be read as tensors ({first_line(error)}).") from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UsageError(f"--weights {path}: holds {type(state).__name__}, expected a state_dict of names and tensors.")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        network.load_state_dict(state)
    except Exception as error:  # tensors of other shapes, other names, or no tensors
        raise ModelError(f"--weights {path}: not of this network ({cut(error)}).") from None


def _channels_of(network: nn.Module) -> int:
    """Channels of the first convolution, 3 where there is none."""
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    return first.in_channels if first is not None else 3


def _of_module(network: nn.Module, where: str, sha256: str, hints: Hints, *, channels: int) -> Network:
    assert hints.size_px is not None
    stream = io.BytesIO()
    try:
        for batch in (2, 1):
            example = torch.zeros(batch, channels, *hints.size_px)
            try:
                _export_onnx(network, example, stream)
                break
            except Exception:
                if batch == 1:
                    raise
    except Exception as error:  # torch raises what it likes
        raise ModelError(f"{where}: torch cannot export it to ONNX ({first_line(error)}).") from None
    opened = network_of_graph(onnx.load_from_string(stream.getvalue()), where, sha256, replace(hints, size_px=None))
    return replace(opened, module=_Chosen(network, _position(opened)))


def _export_onnx(network: nn.Module, example: torch.Tensor, stream: io.BytesIO) -> None:
    stream.seek(0)
    stream.truncate()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        dynamic = {"faces": {0: "n"}} if len(example) > 1 else None
        torch.onnx.export(
            network, (example,), stream, dynamo=False, opset_version=OPSET, input_names=["faces"], dynamic_axes=dynamic
        )


class _Program(nn.Module):
    """A program of torch.export, called with one tensor of faces however deep its inputs are nested."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self.module, self.spec = program.module(), program.call_spec.in_spec

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Call the program."""
        arguments, keywords = pytree.tree_unflatten([faces], self.spec)
        return self.module(*arguments, **keywords)


class _Chosen(nn.Module):
    """One of the outputs of a network."""

    def __init__(self, network: nn.Module, index: int) -> None:
        super().__init__()
        self.network, self.index = network, index

    def train(self, mode: bool = True) -> "_Chosen":
        """Stay as it is: the network is in eval mode, and a program of torch.export refuses to be asked."""
        return self

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) -> (n, classes)."""
        made = self.network(faces)
        if isinstance(made, dict):
            made = tuple(made.values())
        return made if isinstance(made, torch.Tensor) else made[self.index]


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
