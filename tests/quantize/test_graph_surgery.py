"""Changes of an ONNX graph that must not change what it answers: names, zero points, inputs, unused weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import ModelContract
from fer_edge.errors import ModelError

from quantize import graph_facts, onnx_graph, qdq_graph
from quantize.onnx_graph import FloatGraph

INPUT = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 12)


def answers(model: onnx.ModelProto, values: np.ndarray = INPUT) -> np.ndarray:
    session = onnx_graph.session_of(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: values})[0]


def chain(widths: list[int], seed: int = 0) -> onnx.ModelProto:
    """Fully connected layers of these widths, 12 in, with long names."""
    generator = np.random.default_rng(seed)
    nodes, weights, width, name = [], [], 12, "the/input/of/the/network"
    for number, out in enumerate(widths):
        values = generator.normal(0, 0.5, (width, out)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"network.layers.{number}.weight"))
        made = f"network/layers/{number}/output"
        nodes.append(helper.make_node("MatMul", [name, weights[-1].name], [f"{made}_product"], f"{made}/MatMul"))
        nodes.append(helper.make_node("Relu", [f"{made}_product"], [made], f"{made}/Relu"))
        width, name = out, made
    entry = helper.make_tensor_value_info("the/input/of/the/network", TensorProto.FLOAT, ["n", 12])
    exit_ = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(nodes, "chain", [entry], [exit_], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def rounded(zero: int, kind: type, scale: float = 0.05) -> onnx.ModelProto:
    """A quantizer and its inverse with a zero point of this type."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(scale), "scale"),
        numpy_helper.from_array(np.array(zero, kind), "zero"),
    ]
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 12]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "rounded", entries[:1], entries[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_shortened_names_answer_the_same_and_can_be_told_back(widths: list[int], seed: int) -> None:
    model = chain(widths, seed)
    before = answers(model)
    named = {name for node in model.graph.node for name in (*node.input, *node.output)}
    old = qdq_graph.shorten_names(model)
    np.testing.assert_array_equal(answers(model), before)
    ends = {model.graph.input[0].name, model.graph.output[0].name}
    assert ends == {"the/input/of/the/network", f"network/layers/{len(widths) - 1}/output"}
    short = {name for node in model.graph.node for name in (*node.input, *node.output)} - ends
    assert short == old.keys() and {*old.values()} | ends == named
    assert not [node.name for node in model.graph.node if node.name]


@pytest.mark.parametrize(("kind", "made"), [("u8", np.uint8), ("s8", np.int8)])
@pytest.mark.parametrize(
    ("zero", "given_type"), [(0, np.int8), (-128, np.int8), (127, np.int8), (0, np.uint8), (255, np.uint8)]
)
def test_zero_points_move_with_their_type_and_values_stay(kind: str, made: type, zero: int, given_type: type) -> None:
    model = rounded(zero, given_type)
    before = answers(model)
    qdq_graph.one_activation_type(model, kind)
    np.testing.assert_array_equal(answers(model), before)
    kept = next(tensor for tensor in model.graph.initializer if tensor.name == "zero")
    assert numpy_helper.to_array(kept).dtype == made


def test_operators_are_counted_as_they_run() -> None:
    """Two products that nothing but a Relu follows: onnxruntime fuses none of them away, and folds a constant one."""
    model = chain([4, 3])
    assert qdq_graph.executed_nodes(model) == 4
    model.graph.node.insert(0, helper.make_node("Relu", ["network.layers.0.weight"], ["positive"]))
    model.graph.node[1].input[1] = "positive"
    assert qdq_graph.executed_nodes(model) == 4


def test_weights_that_nobody_reads_go_and_the_others_stay() -> None:
    model = chain([4, 3])
    before = answers(model)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, np.float32), "of.the.head.cut.off"))
    onnx_graph.drop_unused(model.graph)
    assert [tensor.name for tensor in model.graph.initializer] == ["network.layers.0.weight", "network.layers.1.weight"]
    np.testing.assert_array_equal(answers(model), before)


def test_an_input_gets_another_name_and_type_and_keeps_its_shape() -> None:
    model = chain([4])
    onnx_graph.retype_input(model.graph, "pixels", TensorProto.UINT8)
    (entry,) = model.graph.input
    assert (entry.name, entry.type.tensor_type.elem_type) == ("pixels", TensorProto.UINT8)
    assert [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim] == ["n", 12]


def test_another_body_keeps_contract_and_scaling(contract: ModelContract) -> None:
    scaling = onnx_graph.Scaling(128.0, 1 / 64)
    first = FloatGraph(chain([4]), "the/input/of/the/network", contract, scaling)
    body = chain([5, 4], seed=1)
    for node in body.graph.node:
        node.name = ""  # as an exporter leaves them
    second = onnx_graph.with_body(first, body)
    assert (second.contract, second.scaling, second.input) == (contract, scaling, "the/input/of/the/network")
    assert all(node.name for node in second.body.graph.node)  # what has no name cannot be left float by name
    assert {value.name for value in second.body.graph.value_info}  # shapes in between are known
    np.testing.assert_array_equal(answers(second.body), answers(chain([5, 4], seed=1)))


@pytest.mark.parametrize(("mean", "scale"), [(128.0, 1 / 64), (0.0, 1 / 255), (127.0, 1.0)])
def test_the_range_of_scaled_pixels_holds_every_pixel_exactly(mean: float, scale: float) -> None:
    """Eight bits over the range then have the scale of the pixels, and the mean as zero point."""
    low_high = onnx_graph.Scaling(mean, scale).range()
    assert (low_high.high - low_high.low) / 255 == pytest.approx(scale)
    assert -low_high.low / scale == pytest.approx(mean)


def test_metadata_is_no_part_of_a_graphs_digest(tmp_path: Path) -> None:
    model = chain([4, 3])
    onnx.save(model, tmp_path / "plain.onnx")
    helper.set_model_props(model, {"fer_edge": "a contract"})
    onnx.save(model, tmp_path / "with.onnx")
    onnx.save(chain([4, 3], seed=1), tmp_path / "other.onnx")
    plain, with_contract, other = (graph_facts.graph_digest(tmp_path / f"{n}.onnx") for n in ("plain", "with", "other"))
    assert plain == with_contract != other


def saved(model: onnx.ModelProto, contract: ModelContract, path: Path) -> Path:
    helper.set_model_props(model, {"fer_edge": contract.to_json()})
    onnx.save(model, path)
    return path


def test_a_quantized_model_is_no_float_one(contract: ModelContract, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="already quantized"):
        onnx_graph.float_graph(saved(rounded(0, np.uint8), contract, tmp_path / "int8.onnx"))


def test_per_channel_weights_want_opset_13(contract: ModelContract, tmp_path: Path) -> None:
    model = chain([4])
    model.opset_import[0].version = 12
    with pytest.raises(ModelError, match="opset 12, expected 13 or newer"):
        onnx_graph.float_graph(saved(model, contract, tmp_path / "old.onnx"))
