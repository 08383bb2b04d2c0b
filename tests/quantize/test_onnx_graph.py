"""Nodes before a user's first layer are understood, or left in float."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fer_edge.errors import ModelError

from export.contracts import float_contract
from export.metadata import put_in_onnx
from quantize import onnx_ptq
from quantize.onnx_graph import FloatGraph, activations, float_graph, session_of
from quantize.qdq_graph import fold_weights
from quantize.ranges import collect_ranges
from quantize.recipes import ONNXRUNTIME, Recipe
from quantize.sensitivity import Choice
from tests.export import small

Step = tuple[str, float]
OURS = (("Sub", 128.0), ("Mul", 1 / 64))
TO_ONE = (("Div", 255.0),)
TO_PLUS_MINUS_ONE = (("Div", 255.0), ("Sub", 0.5), ("Div", 0.5))


def model_with(steps: tuple[Step, ...], opset: int = 17) -> onnx.ModelProto:
    """uint8 faces, a Cast, the arithmetic of `steps`, one convolution, and a mean over pixels: seven logits."""
    names = ["cast", *(f"step{index}" for index in range(len(steps)))]
    nodes = [helper.make_node("Cast", ["faces"], ["cast"], to=TensorProto.FLOAT)]
    nodes += [
        helper.make_node(kind, [before, f"{after}_number"], [after])
        for (kind, _), before, after in zip(steps, names, names[1:], strict=False)
    ]
    nodes.append(helper.make_node("Conv", [names[-1], "weight", "bias"], ["made"]))
    nodes.append(helper.make_node("ReduceMean", ["made"], ["logits"], axes=[2, 3], keepdims=0))
    generator = np.random.default_rng(0)
    numbers = {f"{name}_number": np.float32(number) for name, (_, number) in zip(names[1:], steps, strict=True)}
    weights = {"weight": generator.normal(size=(7, 1, 3, 3)), "bias": generator.normal(size=7)}
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in (numbers | weights).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    put_in_onnx(model, float_contract(small.info(measured={}), "1" * 64, layout="NCHW"))
    return model


def opened(steps: tuple[Step, ...], folder: Path, opset: int = 17) -> FloatGraph:
    onnx.save(model_with(steps, opset), folder / "model.onnx")
    return float_graph(folder / "model.onnx")


@pytest.mark.parametrize(("steps", "mean", "scale"), [(OURS, 128, 1 / 64), (TO_ONE, 0, 1 / 255), ((), 0, 1)])
def test_arithmetic_with_a_whole_mean_becomes_the_pixels_own_quantization(
    steps: tuple[Step, ...], mean: float, scale: float, tmp_path: Path
) -> None:
    graph = opened(steps, tmp_path)
    assert graph.scaling is not None
    assert (graph.scaling.mean, graph.scaling.scale) == (mean, pytest.approx(scale))
    assert [node.op_type for node in graph.body.graph.node] == ["Conv", "ReduceMean"]


@pytest.mark.parametrize("steps", [TO_PLUS_MINUS_ONE, (("Sub", 300.0),), (("Mul", -1.0),)])
def test_other_arithmetic_stays_in_front_in_float(steps: tuple[Step, ...], tmp_path: Path) -> None:
    graph = opened(steps, tmp_path)
    assert graph.scaling is None
    assert graph.input == "faces"
    images, _ = small.drawn_faces(8, seed=1)
    batches = activations(graph, graph.body, onnx_ptq.observed_tensors(graph), images)
    ranges = collect_ranges(batches, ("minmax",))["minmax"]
    recipe = Recipe(name="minmax", backend=ONNXRUNTIME, ranges="minmax")
    made = onnx_ptq.quantized(graph, ranges, recipe, Choice())
    assert made.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    first, second = (
        session_of(model.SerializeToString()).run(None, {"faces": images[:, None]})[0] for model in (graph.body, made)
    )
    np.testing.assert_allclose(first, second, atol=0.05 * np.abs(first).max())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["Sub", "Add", "Mul", "Div"]), st.sampled_from([0.5, 2.0, 64.0, 128.0]))))
def test_what_is_taken_off_and_the_body_are_the_whole_model(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = opened(tuple(steps), Path(folder))
        faces = np.random.default_rng(1).integers(0, 256, (2, 48, 48)).astype(np.uint8)
        whole = session_of(model_with(tuple(steps)).SerializeToString()).run(None, {"faces": faces[:, None]})[0]
        body = session_of(graph.body.SerializeToString()).run(None, {graph.input: graph.feed(faces)})[0]
    np.testing.assert_allclose(whole, body, rtol=1e-3, atol=1e-3 * np.abs(whole).max())


def test_an_old_opset_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="opset 12, expected 13"):
        opened(OURS, tmp_path, opset=12)


def test_weights_that_are_quantized_at_run_time_are_folded() -> None:
    weight = np.array([[1.0, -2.0], [0.5, 0.25]], np.float32)
    nodes = [
        helper.make_node("Identity", ["scale"], ["same_scale"]),
        helper.make_node("QuantizeLinear", ["weight", "same_scale", "zero"], ["integers"], axis=0),
        helper.make_node("DequantizeLinear", ["integers", "scale", "zero"], ["real"], axis=0),
        helper.make_node("MatMul", ["x", "real"], ["y"]),
    ]
    constants = {"weight": weight, "scale": np.array([0.5, 0.25], np.float32), "zero": np.zeros(2, np.int8)}
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    fold_weights(model)
    kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert [node.op_type for node in model.graph.node] == ["DequantizeLinear", "MatMul"]
    assert kept["integers"].tolist() == [[2, -4], [2, 1]]
    assert "weight" not in kept
