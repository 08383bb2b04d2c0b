"""Post-training quantization of TFLite with ai-edge-quantizer, with the input and output a recipe asks for."""

import re
from typing import Any

import numpy as np

from export.metadata import read_tflite
from export.quiet import quiet
from export.tflite_model import operator_name
from quantize.ranges import Range, Ranges, require_ranges
from quantize.recipes import FLOAT_IO, FULL_INTEGER, Recipe
from quantize.sensitivity import Choice
from quantize.tflite_graph import CONVOLUTIONS, FULLY_CONNECTED, FloatModel, holds_much, last_layers, observed_tensors


def quantized(model: FloatModel, ranges: Ranges, recipe: Recipe, choice: Choice) -> bytes:
    """The INT8 model, batch 1. Raises ModelError where `ranges` lacks a tensor.

    `choice` names the optional operators that become integer and the layers that do not. Input (1, h, w, 1): int8, the
    pixel minus 128; with `io` "float" the raw pixel as float32. Output (1, labels): float32 logits; with "full-integer"
    int8 with a scale and zero point.
    """
    whole = recipe.io == FULL_INTEGER
    needed = observed_tensors(model, None if whole else choice.operators)
    require_ranges({**ranges, model.input: Range(0, 0)}, needed, "TFLite")
    inside = recipe.io == FLOAT_IO
    content = model.scaled_inside if inside else model.content
    pixel = model.scaling.range()
    raw = {model.input: Range(0, 255), model.normalised_name: pixel} if inside else {model.input: pixel}
    statistics = {
        name: {"min": np.array([[r.low]], np.float32), "max": np.array([[r.high]], np.float32)}
        for name, r in {**ranges, **raw}.items()
    }
    with quiet():
        worker = _worker(content, recipe, choice)
        result = worker.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _worker(content: bytes, recipe: Recipe, choice: Choice) -> Any:
    from ai_edge_quantizer import qtyping, quantizer

    integer, whole = {*CONVOLUTIONS, *choice.operators}, recipe.io == FULL_INTEGER
    integer |= {FULLY_CONNECTED, "OUTPUT"} if whole else set()
    integer |= set() if recipe.io == FLOAT_IO else {"INPUT"}
    kinds = qtyping.TFLOperationName
    grain = qtyping.QuantGranularity
    worker = quantizer.Quantizer(content)
    worker.add_static_config(
        regex=".*",
        operation_name=kinds.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=grain.CHANNELWISE if recipe.per_channel else grain.TENSORWISE,
    )
    for kind in kinds:
        if kind != kinds.ALL_SUPPORTED and kind.name not in integer:
            worker.update_quantization_recipe(".*", kind, algorithm_key="no_quantize")
    last = () if whole else last_layers(content)
    if holds_much(content, last):
        # Integer weights of one scale, which every runtime takes; inputs are rounded face by face, logits not at all.
        for name in last:
            worker.add_dynamic_config(_named(name), kinds.FULLY_CONNECTED, 8, grain.TENSORWISE)
        last = ()
    for name in (*last, *recipe.exclude, *choice.float_layers, *_attention(content)):
        worker.update_quantization_recipe(_named(name), kinds.ALL_SUPPORTED, algorithm_key="no_quantize")
    return worker


def _named(layer: str) -> str:
    """The pattern of a layer's name, which may be one of several fused ones."""
    return f"(^|;){re.escape(layer)}(;|$)"


def half(model_file: bytes) -> bytes:
    """A float .tflite with its weights in half precision; inputs, outputs and arithmetic stay float32."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    with quiet():
        worker = quantizer.Quantizer(model_file)
        worker.update_quantization_recipe(
            ".*",
            qtyping.TFLOperationName.ALL_SUPPORTED,
            qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )
        return bytes(worker.quantize().quantized_model)


def _attention(content: bytes) -> list[str]:
    """Operators of attention or normalisation, by the name of what they make: they stay float.

    An addition of a constant is one (of SimAM's energies, never of a shortcut), and a mean that is not the last
    layers' pooling.
    """
    model = read_tflite(content)
    graph = model.subgraphs[0]
    made = {tensor for operator in graph.operators for tensor in operator.outputs} | set(graph.inputs)
    readers: dict[int, set[str]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers.setdefault(int(tensor), set()).add(operator_name(model, operator))
    return [
        graph.tensors[operator.outputs[0]].name.decode()
        for operator in graph.operators
        if (kind := operator_name(model, operator)) in ("add", "mean")
        and (
            set(operator.inputs) - made
            if kind == "add"
            else readers.get(int(operator.outputs[0]), set()) - {"fully_connected", "reshape"}
        )
    ]
