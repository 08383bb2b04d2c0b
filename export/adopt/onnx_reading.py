"""The network of an .onnx file, or of a graph that was exported to ONNX."""

import json
import math
from ast import literal_eval
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import inliner

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
from export.adopt.onnx_preparing import keep_output, lifted, opset_of, simplified, widen
from export.adopt.onnx_session import facts_of, runner_of, session_of

IN_TRAINING = "exported in training mode, where BatchNorm looks at all faces at once. Call eval() and export it again."
_MOST_BYTES = 1_000_000_000  # of weights; what is serialized, as every step here does, holds 2 GB
_BYTES = {onnx.TensorProto.FLOAT: 4, onnx.TensorProto.FLOAT16: 2, onnx.TensorProto.INT8: 1, onnx.TensorProto.UINT8: 1}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}


def read_onnx_network(path: Path, hints: Hints) -> Network:
    """Read, check and prepare an .onnx file. Raises ModelError."""
    try:
        graph = onnx.load(path, load_external_data=False)
        weights = sum(math.prod(tensor.dims) * _BYTES.get(tensor.data_type, 8) for tensor in graph.graph.initializer)
        if weights > _MOST_BYTES:
            raise ModelError(f"{path}: {weights / 1e9:.1f} GB of weights, expected 1 GB at most for a board.")
        original = onnx.load(path)  # external data stands beside the file and comes with it
        onnx.checker.check_model(original)
    except ModelError:
        raise
    except Exception as error:  # native code raises what it likes
        raise ModelError(f"{path}: not a complete ONNX model ({first_line(error)}). Export it again.") from None
    return network_of_graph(original, str(path), sha256_of(path), hints)


def network_of_graph(original: onnx.ModelProto, where: str, sha256: str, hints: Hints) -> Network:
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
        raise ModelError(f"{where}: {IN_TRAINING}")
    session = reference = session_of(original.SerializeToString(), where)
    entry = _input_of(original, session, where)
    outputs = tuple(facts_of(output) for output in session.get_outputs())
    output = chosen_output(outputs, hints.output, where, classes=hints.classes)
    require_scores(output, where)
    layout = layout_of(entry.shape, where)
    shape = _sized(entry, layout, hints, where)
    _require_rows(session, output, shape, where)
    graph = lifted(original, where)
    if widen(graph):  # what float16 rounds away is no part of what is published
        reference = session_of(graph.SerializeToString(), where)
    keep_output(graph, output.name)
    graph = simplified(graph, shape, where)
    entry = facts_of(session_of(graph.SerializeToString(), where).get_inputs()[0])
    run = runner_of(reference, output.name, one=entry.shape[0] == 1)
    network = Network(
        source=where,
        sha256=sha256,
        input=entry,
        output=with_classes(output, run, entry),
        outputs=outputs,
        layout=layout,
        run=run,
        graph=graph,
        facts=f"opset {opset_of(original)}, {counted(Counter(node.op_type for node in original.graph.node))}",
        known_labels=_labels_in({entry.key: entry.value for entry in original.metadata_props}),
    )
    _require_same(network, session, graph)
    return network


def _input_of(model: onnx.ModelProto, session: onnxruntime.InferenceSession, where: str) -> TensorFacts:
    weights = {tensor.name for tensor in model.graph.initializer}
    entries = [facts_of(entry) for entry in session.get_inputs() if entry.name not in weights]
    if len(entries) != 1:
        raise ModelError(f"{where}: {len(entries)} inputs, expected one picture: {', '.join(map(str, entries))}.")
    if entries[0].dtype not in ("float32", "float16", "uint8"):
        raise ModelError(f"{where}: input {entries[0]}, expected float32, float16 or uint8 pixels.")
    return entries[0]


def _require_rows(
    session: onnxruntime.InferenceSession, output: TensorFacts, shape: tuple[int, ...], where: str
) -> None:
    """The output must have a dimension for the faces. Raises ModelError, also where the model fails on a face."""
    faces = np.zeros((max(shape[0], 1), *shape[1:]), np.dtype(facts_of(session.get_inputs()[0]).dtype))
    try:
        made = session.run([output.name], {session.get_inputs()[0].name: faces})[0]
    except Exception as error:  # onnxruntime's errors have no common base
        size = "x".join(map(str, shape[1:]))
        raise ModelError(
            f"{where}: onnxruntime fails on a face of {size} ({cut(error)}). Is that its --size?"
        ) from None
    if np.ndim(made) < 2 or len(made) != len(faces):
        raise ModelError(
            f"{where}: output {output.name!r} of shape {np.shape(made)} for {faces.shape}, expected (faces, classes). "
            "Export it with a row of scores a face."
        )


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


def _require_same(network: Network, original: onnxruntime.InferenceSession, graph: onnx.ModelProto) -> None:
    """Lifting, widening and simplifying must change nothing, and what is computed must be finite."""
    session = session_of(graph.SerializeToString(), network.source)
    generator = np.random.default_rng(0)
    shape, one = (2, *network.input.shape[1:]), network.input.shape[0] == 1
    faces = generator.integers(0, 2 if network.input.dtype != "uint8" else 255, shape).astype(np.float32)
    run = runner_of(original, network.output.name, one=one)
    before, again = run(faces), run(faces)
    after = runner_of(session, session.get_outputs()[0].name)(faces)
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
