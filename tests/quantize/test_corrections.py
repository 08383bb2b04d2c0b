"""Equalized weights and corrected biases: the float network computes the same, INT8 loses less."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fer_edge.faces import load_faces

from quantize import corrections, onnx_ptq
from quantize.onnx_graph import FloatGraph, activations, float_graph
from quantize.ranges import collect_ranges
from quantize.recipes import ONNXRUNTIME, Recipe
from quantize.sensitivity import Choice, snr_db
from tests.quantize.networks import foreign

RECIPE = Recipe(name="test", backend=ONNXRUNTIME)


@pytest.fixture(scope="module")
def images(faces: Path) -> np.ndarray:
    return load_faces(faces, "Training").images[:64]


def unbalanced(path: Path) -> FloatGraph:
    """A network one of whose channels is a thousand times the others, and is weighed as much less again."""
    model = onnx.load(foreign(path))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    factor = np.ones(12, np.float32)
    factor[0] = 1000
    first, second = (numpy_helper.to_array(weights[name]) for name in ("first", "second"))
    weights["first"].CopyFrom(numpy_helper.from_array(first * factor[:, None, None, None], "first"))
    weights["second"].CopyFrom(numpy_helper.from_array(second / factor[None, :, None, None], "second"))
    onnx.save(model, path)
    return float_graph(path)


def outputs(graph: FloatGraph, model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    return np.concatenate([part["logits"] for part in activations(graph, model, ("logits",), images)])


def ranges(graph: FloatGraph, images: np.ndarray) -> dict:
    return collect_ranges(activations(graph, graph.body, onnx_ptq.observed_tensors(graph), images), ("minmax",))[
        "minmax"
    ]


def test_equalizing_changes_nothing_in_float_and_much_in_integers(tmp_path: Path, images: np.ndarray) -> None:
    graph = unbalanced(tmp_path / "unbalanced.onnx")
    equal = corrections.equalized(graph)
    reference = outputs(graph, graph.body, images)
    np.testing.assert_allclose(outputs(equal, equal.body, images), reference, rtol=1e-3, atol=1e-3)
    before, after = (
        snr_db(outputs(one, onnx_ptq.quantized(one, ranges(one, images), RECIPE, Choice()), images), reference)
        for one in (graph, equal)
    )
    assert after > before + 10


def test_a_rounded_weights_mean_error_is_taken_off_the_bias(exported: Path, images: np.ndarray) -> None:
    graph = float_graph(exported / "small.fp32.onnx")
    found = ranges(graph, images)
    coarse = onnx_ptq.quantized(graph, found, RECIPE, Choice())
    corrected = corrections.bias_corrected(graph, coarse, images)
    reference = outputs(graph, graph.body, images)
    after = outputs(graph, onnx_ptq.quantized(corrected, found, RECIPE, Choice()), images)
    before = outputs(graph, coarse, images)
    assert abs((after - reference).mean(axis=0)).mean() <= abs((before - reference).mean(axis=0)).mean() * 1.2


def test_a_network_without_biases_is_left_as_it_is(tmp_path: Path, images: np.ndarray) -> None:
    graph = float_graph(foreign(tmp_path / "plain.onnx"))  # its convolutions have none
    made = onnx_ptq.quantized(graph, ranges(graph, images), RECIPE, Choice())
    assert corrections.bias_corrected(graph, made, images) is graph


def test_a_range_ends_where_its_only_reader_saturates(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["made"], "conv"),
        onnx.helper.make_node("HardSwish", ["made"], ["y"], "swish"),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "swish",
        [value("x", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])],
        [value("y", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])],
        [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    own = FloatGraph(model, "x", None, None)  # type: ignore[arg-type]
    seen = onnx_ptq.seen_ranges(own, {"made": onnx_ptq.Range(-9.0, 5.0), "x": onnx_ptq.Range(-9.0, 5.0)})
    assert (seen["made"].low, seen["made"].high) == (-3.0, 5.0)
    assert seen["x"].low == -9.0
