"""Open a network from elsewhere: .onnx, .tflite, .pt2, or `module:function` with a file of weights."""

import hashlib
import importlib
import io
import json
import sys
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxsim
import torch
import torch.utils._pytree as pytree
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter
from torch import nn

from fer_edge.errors import ModelError, UsageError
from fer_edge.files import sha256_of
from fer_edge.tables import cut

from export.adopt.network import (
    Hints,
    Network,
    TensorFacts,
    chosen_output,
    counted,
    first_line,
    layout_of,
    require_scores,
    with_classes,
)
from export.adopt.program_file import load_program
from export.adopt.tflite_reading import read_tflite_network
from export.onnx_model import OPSET
from export.quiet import quiet

_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
}
_IN_TRAINING = "exported in training mode, where BatchNorm looks at all faces at once. Call eval() and export it again."
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}
_KERAS = "Keras 3 exports it: model = load_model(...), model.export('model.onnx', format='onnx'), or format='litert'"
_PICKLE = "a pickle runs code when it is opened; give module:function and --weights, or torch.export.save's .pt2"
_REMEDIES = {
    **dict.fromkeys((".keras", ".h5", ".hdf5"), _KERAS),
    **dict.fromkeys((".pt", ".pth", ".pkl", ".ckpt", ".bin", ".joblib"), _PICKLE),
    ".torchscript": "give module:function and --weights, or torch.export.save's .pt2",
    ".safetensors": "weights alone are no network; give module:function and --weights",
    ".pb": "TensorFlow's converter makes a .tflite of it: tf.lite.TFLiteConverter.from_saved_model",
}


def open_network(source: str, hints: Hints) -> Network:
    """Open what `source` names. Raises ModelError for what cannot be adopted, with the reason."""
    path = Path(source)
    readers: dict[str, Callable[[Path, Hints], Network]] = {
        ".onnx": _read_onnx,
        ".tflite": read_tflite_network,
        ".pt2": _read_program,
    }
    for flag, value in (("--weights", hints.weights), ("--channels", hints.channels)):
        if path.suffix.lower() in readers and value is not None:
            raise UsageError(
                f"{flag} {value}: goes with module:function alone; {path} says it itself. Leave {flag} out."
            )
    suffix = path.suffix.lower()
    if suffix in readers:
        if not path.is_file():
            raise UsageError(f"{path}: no such file. Give an .onnx, .tflite or .pt2 file, or module:function.")
        _require_content(path)
        return readers[suffix](path, hints)
    if ":" in source and not path.exists():
        return _read_function(source, hints)
    remedy = _REMEDIES.get(suffix, "give an .onnx, .tflite or .pt2 file, or module:function")
    if (path / "saved_model.pb").is_file():
        remedy = _REMEDIES[".pb"]
    raise UsageError(f"{source}: expected .onnx, .tflite, .pt2 or module:function; {remedy}.")


def _require_content(path: Path) -> None:
    """Raise ModelError for what downloads and checkouts leave in the place of a model."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise ModelError(f"{path}: empty. Copy it again.")
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a pointer of Git LFS, and not the model itself. Run git lfs pull.")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ModelError(f"{path}: a web page, and no model. Download it again.")
    if head.startswith(b"PK") and path.suffix.lower() != ".pt2":
        raise ModelError(f"{path}: a zip archive. Unpack it, and give the file in it by its own suffix.")


# --- ONNX -------------------------------------------------------------------------------------------------------


def _read_onnx(path: Path, hints: Hints) -> Network:
    try:
        original = onnx.load(path)  # external data stands beside the file and comes with it
        onnx.checker.check_model(original if original.ByteSize() < 2**31 - 1 else str(path))
    except Exception as error:  # native code raises what it likes
        raise ModelError(f"{path}: not a complete ONNX model ({first_line(error)}). Export it again.") from None
    return _of_graph(original, str(path), sha256_of(path), hints)


def _of_graph(original: onnx.ModelProto, where: str, sha256: str, hints: Hints) -> Network:
    """The network of an ONNX model: lifted, in float32, with one input and one output, and any batch if it bears it."""
    if original.functions:  # operators made of others
        original = inliner.inline_local_functions(original)
    if any(node.op_type in _QUANTIZED for node in original.graph.node):
        raise ModelError(f"{where}: already quantized. Give the float model that it was made from.")
    strangers = {node.domain for node in original.graph.node} - {"", "ai.onnx"}
    if strangers:
        raise ModelError(f"{where}: has operators of {min(strangers)}, which boards do not know. Export it plainly.")
    attributes = [attribute for node in original.graph.node for attribute in node.attribute]
    if any(attribute.name == "training_mode" and attribute.i for attribute in attributes):
        raise ModelError(f"{where}: {_IN_TRAINING}")
    session = reference = _session(original.SerializeToString(), where)
    entry = _input_of(original, session, where)
    outputs = tuple(_facts(output) for output in session.get_outputs())
    output = chosen_output(outputs, hints.output, where, classes=hints.classes)
    require_scores(output, where)
    layout = layout_of(entry.shape, where)
    shape = _sized(entry, layout, hints, where)
    _require_rows(session, output, shape, where)
    graph = _lifted(original, where)
    if _widen(graph):  # what float16 rounds away is no part of what is published
        reference = _session(graph.SerializeToString(), where)
    _keep_output(graph, output.name)
    graph = _simplified(graph, shape, where)
    entry = _facts(_session(graph.SerializeToString(), where).get_inputs()[0])
    run = _runner(reference, output.name, one=entry.shape[0] == 1)
    network = Network(
        source=where,
        sha256=sha256,
        input=entry,
        output=with_classes(output, run, entry),
        outputs=outputs,
        layout=layout,
        run=run,
        graph=graph,
        facts=f"opset {_opset(original)}, {counted(Counter(node.op_type for node in original.graph.node))}",
        known_labels=_labels_in({entry.key: entry.value for entry in original.metadata_props}),
    )
    _require_same(network, session, graph)
    return network


def _input_of(model: onnx.ModelProto, session: onnxruntime.InferenceSession, where: str) -> TensorFacts:
    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [_facts(entry) for entry in session.get_inputs() if entry.name not in weights]
    if len(entries) != 1:
        raise ModelError(f"{where}: {len(entries)} inputs, expected one picture: {', '.join(map(str, entries))}.")
    if entries[0].dtype not in ("float32", "float16", "uint8"):
        raise ModelError(f"{where}: input {entries[0]}, expected float32, float16 or uint8 pixels.")
    return entries[0]


def _require_rows(
    session: onnxruntime.InferenceSession, output: TensorFacts, shape: tuple[int, ...], where: str
) -> None:
    """The output must have a dimension for the faces. Raises ModelError, also where the model fails on a face."""
    faces = np.zeros((max(shape[0], 1), *shape[1:]), np.dtype(_facts(session.get_inputs()[0]).dtype))
    try:
        made = session.run([output.name], {session.get_inputs()[0].name: faces})[0]
    except Exception as error:  # onnxruntime's errors have no common base
        size = "x".join(map(str, shape[1:]))
        raise ModelError(
            f"{where}: onnxruntime fails on a face of {size} ({cut(error)}). Is that its --size?"
        ) from None
    if np.ndim(made) < 2:
        raise ModelError(
            f"{where}: output {output.name!r} of shape {np.shape(made)} for {faces.shape}, expected (faces, classes). "
            "Export it with a row of scores a face."
        )


def _facts(entry: Any) -> TensorFacts:
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in entry.shape)
    return TensorFacts(entry.name, _TYPES.get(entry.type, entry.type), shape)


def _opset(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _lifted(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy of at least OPSET: below 13, quantization per channel cannot be said."""
    if _opset(model) >= OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # native code raises what it likes
        raise ModelError(
            f"{where}: opset {_opset(model)} cannot be lifted to {OPSET} ({first_line(error)}). "
            f"Export it again with opset {OPSET}."
        ) from None


def _widen(model: onnx.ModelProto) -> bool:
    """Make every float16 of a graph float32, which loses nothing; whether there was any."""
    graph, narrow = model.graph, 0
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
            narrow += 1
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
                narrow += 1
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT16:
                widened = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(widened, attribute.t.name))
                narrow += 1
    del graph.value_info[:]
    for entry in (*graph.input, *graph.output):
        if entry.type.tensor_type.elem_type == TensorProto.FLOAT16:
            entry.type.tensor_type.elem_type = TensorProto.FLOAT
            narrow += 1
    return narrow > 0


def _keep_output(model: onnx.ModelProto, name: str) -> None:
    kept = [output for output in model.graph.output if output.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _sized(entry: TensorFacts, layout: str, hints: Hints, where: str) -> tuple[int, ...]:
    """The input's shape with height and width known, the batch as it is."""
    shape = list(entry.shape)
    rows = 2 if layout == "NCHW" else 1
    if -1 in shape[rows : rows + 2]:
        if hints.size_px is None:
            raise UsageError(f"{where}: takes {entry}, pictures of any size. Say --size HEIGHTxWIDTH.")
        shape[rows : rows + 2] = hints.size_px
    elif hints.size_px is not None and tuple(shape[rows : rows + 2]) != hints.size_px:
        raise UsageError(f"--size {hints.size_px[0]}x{hints.size_px[1]}: {where} takes {entry}. Leave --size out.")
    return tuple(shape)


def _simplified(model: onnx.ModelProto, shape: tuple[int, ...], where: str) -> onnx.ModelProto:
    """Constants folded, BatchNorm in convolutions, and any number of faces where the graph bears it."""
    name = next(entry.name for entry in model.graph.input if entry.name not in _weights(model))
    for entry in [entry for entry in model.graph.input if entry.name != name]:
        model.graph.input.remove(entry)
    model.ir_version = max(model.ir_version, 8)  # below 4 every weight must be an input as well
    _pass_dropouts(model)
    for batch in dict.fromkeys((-1, shape[0], 1)):
        tried = onnx.ModelProto()
        tried.CopyFrom(model)
        _reshape_input(tried, (batch, *shape[1:]))
        try:
            simple, same = onnxsim.simplify(tried)
        except Exception:  # native code raises what it likes; the next batch may do
            continue
        if same and _bears(simple, batch, shape):
            simple.ir_version = min(max(simple.ir_version, 8), 10)
            return simple
    taken = f"takes exactly {shape[0]} faces at once" if shape[0] > 1 else "cannot be simplified"
    raise ModelError(f"{where}: {taken}, expected 1 or any number. Export it again with a batch of 1.")


def _pass_dropouts(model: onnx.ModelProto) -> None:
    """Dropout does nothing outside training; onnxsim leaves one that names its mask."""
    read = {name for node in model.graph.node for name in node.input}
    for node in model.graph.node:
        if node.op_type == "Dropout" and len(node.input) < 3 and not read & set(node.output[1:]):
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output[:1], node.name))


def _weights(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def _reshape_input(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    entry, output = model.graph.input[0], model.graph.output[0]
    dims: list[int | str] = ["n" if size < 0 else size for size in shape]
    kind = entry.type.tensor_type.elem_type
    entry.CopyFrom(helper.make_tensor_value_info(entry.name, kind, dims))
    first = output.type.tensor_type.shape.dim
    if len(first):
        first[0].Clear()
        if shape[0] > 0:
            first[0].dim_value = shape[0]
        else:
            first[0].dim_param = "n"


def _bears(model: onnx.ModelProto, batch: int, shape: tuple[int, ...]) -> bool:
    """Whether several faces at once give what each gives alone; for a batch of one, whether it runs."""
    if batch > 1:
        return False
    session = _session(model.SerializeToString(), "model")
    generator = np.random.default_rng(0)
    dtype = _facts(session.get_inputs()[0]).dtype
    faces = generator.integers(0, 255, (4, *shape[1:])).astype(dtype)
    faces[1] = 0
    if dtype != "uint8":  # what looks at several faces at once shows where they are far apart
        faces[2:] -= 255
        faces[3] /= 128
    name = session.get_inputs()[0].name
    try:
        alone = [session.run(None, {name: face[None]})[0] for face in faces]
        if batch == 1:
            return alone[0].shape[0] == 1
        together = session.run(None, {name: faces})[0]
    except Exception:  # onnxruntime's errors have no common base
        return False
    apart = np.concatenate(alone)
    return together.shape == apart.shape and bool(np.allclose(together, apart, rtol=1e-3, atol=1e-3))


def _session(content: bytes, where: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise ModelError(f"{where}: onnxruntime refuses it ({first_line(error)}). Export it again.") from None


def _runner(
    session: onnxruntime.InferenceSession, output: str, *, one: bool = False
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The session as a function of faces, which get to it in batches of the size it takes; with `one`, singly."""
    entry = session.get_inputs()[0]
    dtype = np.dtype(_facts(entry).dtype)
    fixed = entry.shape[0] if isinstance(entry.shape[0], int) and entry.shape[0] > 0 else None
    batch = fixed or (1 if one else None)

    def run(faces: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(faces), batch or 32):
            part = faces[start : start + (batch or 32)]
            filled = part if batch is None else np.resize(part, (batch, *part.shape[1:]))
            parts.append(session.run([output], {entry.name: filled.astype(dtype)})[0][: len(part)])
        return np.concatenate(parts).reshape(len(faces), -1).astype(np.float32)

    return run


def _require_same(network: Network, original: onnxruntime.InferenceSession, graph: onnx.ModelProto) -> None:
    """Lifting, widening and simplifying must change nothing, and what is computed must be finite."""
    session = _session(graph.SerializeToString(), network.source)
    generator = np.random.default_rng(0)
    shape, one = (2, *network.input.shape[1:]), network.input.shape[0] == 1
    faces = generator.integers(0, 2 if network.input.dtype != "uint8" else 255, shape).astype(np.float32)
    run = _runner(original, network.output.name, one=one)
    before, again = run(faces), run(faces)
    after = _runner(session, session.get_outputs()[0].name)(faces)
    if not np.isfinite(before).all():
        raise ModelError(f"{network.source}: gives values that are not finite. Check its weights.")
    if not np.allclose(before, again, rtol=1e-3, atol=1e-3):
        raise ModelError(
            f"{network.source}: gives another output for the same face each time. Export it without noise."
        )
    if not np.allclose(before, after, rtol=1e-2, atol=1e-2 * max(1.0, float(np.abs(before).max()))):
        raise ModelError(
            f"{network.source}: simplifying changes its outputs by {np.abs(before - after).max():.3g}. "
            "Export it again with another opset."
        )


def _labels_in(properties: dict[str, str]) -> tuple[str, ...]:
    """Names of classes that a file's metadata holds, as Ultralytics' exporters and others write them."""
    for key in ("names", "labels", "classes", "class_names"):
        text = properties.get(key)
        if not text:
            continue
        for parse in (json.loads, literal_eval):
            try:
                value = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(value, dict) and all(str(key).isdecimal() for key in value):
                value = [value[key] for key in sorted(value, key=int)]
            if isinstance(value, list) and all(isinstance(label, str) for label in value):
                return tuple(value)
    return ()


# --- torch ------------------------------------------------------------------------------------------------------


def _read_program(path: Path, hints: Hints) -> Network:
    """A program of torch.export.save, from a file that holds no code."""
    program = load_program(path)
    if _trains(program):
        raise ModelError(f"{path}: {_IN_TRAINING}")
    try:
        with quiet():
            made = torch.onnx.export(program, dynamo=True, optimize=False)
        module = _Program(program)
    except Exception as error:  # torch raises what it likes
        raise ModelError(f"{path}: torch cannot export it to ONNX ({first_line(error)}).") from None
    assert made is not None
    opened = _of_graph(made.model_proto, str(path), sha256_of(path), hints)
    return replace(opened, module=_Chosen(module, _position(opened)))


def _trains(program: torch.export.ExportedProgram) -> bool:
    """Whether it has a BatchNorm that takes its statistics from the faces it gets."""
    calls = [node for node in program.graph.nodes if "batch_norm" in str(node.target)]
    return any(len(call.args) > 5 and call.args[5] is True for call in calls)


def _position(network: Network) -> int:
    """Which of the outputs was chosen."""
    return [output.name for output in network.outputs].index(network.output.name)


def _read_function(source: str, hints: Hints) -> Network:
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
    opened = _of_graph(onnx.load_from_string(stream.getvalue()), where, sha256, replace(hints, size_px=None))
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
