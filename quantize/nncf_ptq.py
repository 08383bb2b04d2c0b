"""Post-training quantization of ONNX with NNCF: bias correction, or layers taken back until accuracy holds."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx

from fer_edge.faces import LabelledFaces

from export.quiet import quiet
from quantize.onnx_graph import FloatGraph, session_of
from quantize.qdq_graph import fold_weights, one_activation_type, take_raw_faces
from quantize.recipes import Recipe

# NNCF reports each use of itself over the network; a continuous integration run does not, and nor does this.
os.environ.setdefault("NNCF_CI", "1")
# Attention and normalisation, by kind, as the onnxruntime recipes have them by not being asked for.
_FLOAT_KINDS = ["Div", "ReduceMean", "ReduceSum", "Sub", "Pow", "Mul", "Sigmoid", "HardSigmoid", "HardSwish"]
_FLOAT_KINDS += ["InstanceNormalization", "Gemm", "MatMul"]
_RANKING_FACES = 100
# Its own default: bias correction runs every layer on each of them.
_SUBSET = 300


def quantized(graph: FloatGraph, faces: LabelledFaces, recipe: Recipe) -> onnx.ModelProto:
    """The INT8 model by `nncf.quantize`, preset MIXED; input and activations as `onnx_ptq.quantized` has them."""
    with quiet():
        import nncf

        model = nncf.quantize(
            _body(graph),
            _dataset(graph, faces),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=min(len(faces), _SUBSET),
            ignored_scope=_float_scope(graph, recipe),
            advanced_parameters=_advanced(recipe),
        )
    return finished(model, graph, recipe)


def accuracy_controlled(
    graph: FloatGraph, faces: LabelledFaces, judged: LabelledFaces, recipe: Recipe, max_drop_points: float
) -> onnx.ModelProto:
    """The INT8 model by `nncf.quantize_with_accuracy_control`: layers go back to float until the drop is small enough.

    The drop is of accuracy on the faces `judged`.
    """
    with quiet():
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters

        restorer = AdvancedAccuracyRestorerParameters(ranking_subset_size=_RANKING_FACES, num_ranking_workers=1)
        model = nncf.quantize_with_accuracy_control(
            _body(graph),
            _dataset(graph, faces),
            _dataset(graph, judged),
            _validation(graph, judged),
            max_drop=max_drop_points / 100,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=min(len(faces), _SUBSET),
            ignored_scope=_float_scope(graph, recipe),
            advanced_quantization_parameters=_advanced(recipe),
            advanced_accuracy_restorer_parameters=restorer,
        )
    return finished(model, graph, recipe)


def finished(model: onnx.ModelProto, graph: FloatGraph, recipe: Recipe) -> onnx.ModelProto:
    """Rewrite NNCF's model to one type of activation, integer weights, and the raw pixel as its first integer."""
    fold_weights(model)
    one_activation_type(model, recipe.activations)
    take_raw_faces(model, graph, recipe.activations)
    return model


def _body(graph: FloatGraph) -> onnx.ModelProto:
    body = onnx.ModelProto()
    body.CopyFrom(graph.body)
    return body


def _dataset(graph: FloatGraph, faces: LabelledFaces) -> Any:
    import nncf

    return nncf.Dataset(
        list(range(len(faces))), lambda index: {graph.input: graph.feed(faces.images[index : index + 1])}
    )


def _validation(graph: FloatGraph, faces: LabelledFaces) -> Any:
    """Accuracy of a model NNCF tries on the faces it names, and which of them it gets right, for ranking layers."""

    def validate(model: onnx.ModelProto, rows: Iterable[int]) -> tuple[float, list[float]]:
        session = session_of(model.SerializeToString())
        right = []
        for row in rows:
            (logits,) = session.run(None, {graph.input: graph.feed(faces.images[row : row + 1])})
            right.append(float(logits.argmax() == faces.labels[row]))
        return float(np.mean(right)), right

    return validate


def _float_scope(graph: FloatGraph, recipe: Recipe) -> Any:
    import nncf

    constants = {tensor.name for tensor in graph.body.graph.initializer}
    additions = [n.name for n in graph.body.graph.node if n.op_type == "Add" and constants & set(n.input)]
    return nncf.IgnoredScope(names=[*recipe.exclude, *additions], types=_FLOAT_KINDS, validate=False)


def _advanced(recipe: Recipe) -> Any:
    from nncf.quantization import advanced_parameters as advanced

    return advanced.AdvancedQuantizationParameters(
        # Halved weight ranges would spare old x86 processors an overflow at the price of a bit.
        overflow_fix=advanced.OverflowFix.DISABLE,
        disable_bias_correction=recipe.bias_correction == "none",
        # Asymmetric for all: two-sided tensors would be symmetric otherwise, and then of another type.
        activations_quantization_params=advanced.QuantizationParameters(
            mode=advanced.QuantizationMode.ASYMMETRIC, per_channel=False
        ),
        weights_quantization_params=advanced.QuantizationParameters(per_channel=recipe.per_channel),
    )
