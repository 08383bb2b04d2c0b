"""Make an ONNX graph plain: of today's opset, in float32, with one output, simplified, for any batch it bears."""

import numpy as np
import onnx
import onnxsim
from onnx import TensorProto, helper, numpy_helper, version_converter

from fer_edge.errors import ModelError

from export.adopt.network import first_line
from export.adopt.onnx_session import facts_of, session_of
from export.onnx_model import OPSET

# Attributes of a Constant that are numbers, and their types.
_NUMBERS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators, 0 where it does not say."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def lifted(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """A copy of at least OPSET: below 13, quantization per channel cannot be said."""
    if opset_of(model) >= OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # native code raises what it likes
        raise ModelError(
            f"{where}: opset {opset_of(model)} cannot be lifted to {OPSET} ({first_line(error)}). "
            f"Export it again with opset {OPSET}."
        ) from None


def widen(model: onnx.ModelProto) -> bool:
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


def keep_output(model: onnx.ModelProto, name: str) -> None:
    """Leave one output alone."""
    kept = [output for output in model.graph.output if output.name == name]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def simplified(model: onnx.ModelProto, shape: tuple[int, ...], where: str) -> onnx.ModelProto:
    """Constants folded, BatchNorm in convolutions, and any number of faces where the graph bears it."""
    name = next(entry.name for entry in model.graph.input if entry.name not in _weights(model))
    for entry in [entry for entry in model.graph.input if entry.name != name]:
        model.graph.input.remove(entry)
    model.ir_version = max(model.ir_version, 8)  # below 4 every weight must be an input as well
    _pass_dropouts(model)
    _casts_by_type(model)
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
            constants_as_initializers(simple)
            return simple
    taken = f"takes exactly {shape[0]} faces at once" if shape[0] > 1 else "cannot be simplified"
    raise ModelError(f"{where}: {taken}, expected 1 or any number. Export it again with a batch of 1.")


def constants_as_initializers(model: onnx.ModelProto) -> None:
    """Say every constant in the one way that converters and quantizers look for."""
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        kind, value = node.attribute[0].name, helper.get_attribute_value(node.attribute[0])
        if kind != "value" and kind not in _NUMBERS:
            continue
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(value if kind == "value" else numpy_helper.from_array(np.array(value, _NUMBERS[kind])))
        tensor.name = node.output[0]
        model.graph.node.remove(node)


def _casts_by_type(model: onnx.ModelProto) -> None:
    """Say every CastLike as a Cast: torch's exporter makes biases of 0 by it, and hides from onnxsim that they are
    constant, so that no BatchNorm would get into its convolution.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    entries = (*graph.value_info, *graph.input, *graph.output)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in entries}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1], 0):
            node.CopyFrom(helper.make_node("Cast", node.input[:1], node.output, node.name, to=types[node.input[1]]))


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
    session = session_of(model.SerializeToString(), "model")
    generator = np.random.default_rng(0)
    dtype = facts_of(session.get_inputs()[0]).dtype
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
