"""Other people's models in small: any colour, size, layout, range, type and batch; several outputs; labels of any name.

Each one's scores are the means of its channels times `weights_of`, so a test can say by hand what it must answer.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import METADATA_KEY, FaceCrop, InputSpec, ModelContract, OutputSpec

_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
SIX = ("Wut", "Ekel", "Freude", "Trauer", "Überraschung", "keine")
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
UNIT = {"mean": (0.0,) * 3, "std": (255.0,) * 3}


@dataclass(frozen=True)
class Foreign:
    """The traits of a model from elsewhere. `batch` is the number of faces it takes at once, or a name for any number.

    `embedding` says that it has another output before that of the scores, which the contract then chooses by
    `chosen_by`: "name" or "index".
    """

    side_px: int = 64
    colour: str = "rgb"
    layout: str = "NCHW"
    dtype: str = "float32"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    batch: int | str = "n"
    labels: tuple[str, ...] = SIX
    probabilities: bool = False
    embedding: bool = False
    chosen_by: str = "name"
    square_margin: float = 0.1
    aligned: bool = False

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    @property
    def contract(self) -> ModelContract:
        which = {"name": {"name": "scores"}, "index": {"index": 1}}[self.chosen_by] if self.embedding else {}
        alignment = {"alignment": "five-point", "template": "arcface-112"} if self.aligned else {"alignment": "none"}
        return ModelContract(
            name="foreign",
            task="classes",
            labels=self.labels,
            input=InputSpec(
                **{"height_px": self.side_px, "width_px": self.side_px, "colour": self.colour, "layout": self.layout},
                **{"dtype": self.dtype, "low": 0, "high": 255, "mean": self.mean, "std": self.std},
            ),
            face_crop=FaceCrop(margin=self.square_margin, square=True, **alignment),
            output=OutputSpec(meaning="probabilities" if self.probabilities else "logits", temperature=1.0, **which),
            precision="fp16" if self.dtype == "float16" else "fp32",
            checkpoint_sha256="0" * 64,
            trained_on="nothing: made for a test",
            licence="Apache-2.0",
            producer="tests",
            created="2026-11-26",
        ).in_lowest_schema()


def weights_of(foreign: Foreign) -> np.ndarray:
    """(channels, labels) float32, in units of what the model is fed with."""
    scale = 1 / 64 if not foreign.std else 2.0
    shape = (foreign.channels, len(foreign.labels))
    return (np.random.default_rng(len(foreign.labels)).normal(0, scale, shape)).astype(np.float32)


def expected(foreign: Foreign, crops_bgr: np.ndarray) -> np.ndarray:
    """Probabilities (n, labels) for crops (n, h, w, 3) uint8 BGR, worked out without any of the runtime."""
    if foreign.colour == "grey":
        channels = (crops_bgr @ np.array([0.114, 0.587, 0.299])).round()[..., None]
    else:
        channels = crops_bgr[..., ::-1] if foreign.colour == "rgb" else crops_bgr
    values = channels.astype(np.float64)
    if foreign.mean:
        values = (values - foreign.mean) / foreign.std
    scores = np.exp((scores := values.mean(axis=(1, 2)) @ weights_of(foreign)) - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def write_foreign(path: Path, foreign: Foreign, contract: ModelContract | None = None) -> Path:
    """The model as `path` asks for, .onnx or .tflite, with its contract inside, or another one."""
    contract = contract or foreign.contract
    if path.suffix == ".tflite":
        path.write_bytes(_tflite(foreign, contract))
    else:
        onnx.save(_onnx(foreign, contract), path)
    return path


def _onnx(foreign: Foreign, contract: ModelContract) -> onnx.ModelProto:
    node, float_type = helper.make_node, _TYPES["float16" if foreign.dtype == "float16" else "float32"]
    side, count = foreign.side_px, len(foreign.labels)
    shape = [foreign.channels, side, side] if foreign.layout == "NCHW" else [side, side, foreign.channels]
    nodes = [
        # Sums of fp16 pixels overflow: like a real network, it works in float in between.
        node("Cast", ["faces"], ["x"], to=TensorProto.FLOAT),
        node("ReduceMean", ["x"], ["means"], axes=[2, 3] if foreign.layout == "NCHW" else [1, 2], keepdims=0),
        node("MatMul", ["means", "weights"], ["product"]),
        *([node("Softmax", ["product"], ["said"], axis=1)] if foreign.probabilities else []),
        node("Cast", ["said" if foreign.probabilities else "product"], ["scores"], to=float_type),
        *([node("Cast", ["means"], ["embedding"], to=float_type)] if foreign.embedding else []),
    ]
    outputs = [helper.make_tensor_value_info("scores", float_type, [foreign.batch, count])]
    if foreign.embedding:
        outputs.insert(0, helper.make_tensor_value_info("embedding", float_type, [foreign.batch, foreign.channels]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("faces", _TYPES[foreign.dtype], [foreign.batch, *shape])],
        outputs,
        [numpy_helper.from_array(weights_of(foreign), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model)
    return model


def _tflite(foreign: Foreign, contract: ModelContract) -> bytes:
    """Mean, a fully connected layer, and softmax where it gives probabilities: float32, NHWC, one face at a time."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    side, count = foreign.side_px, len(foreign.labels)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: list[int], data: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, np.array(shape, np.int32), 0
        made.type = schema.TensorType.INT32 if data is not None and data.dtype == np.int32 else 0
        if data is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, kind: int, options: Any, inputs: list[int], output: int) -> int:
        entry, made = schema.OperatorCodeT(), schema.OperatorT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version, made.opcodeIndex = 1, len(model.operatorCodes)
        made.inputs, made.outputs, made.builtinOptionsType, made.builtinOptions = inputs, [output], kind, options
        model.operatorCodes.append(entry)
        graph.operators.append(made)
        return output

    codes, kinds = schema.BuiltinOperator, schema.BuiltinOptions
    faces = tensor("faces", [1, side, side, foreign.channels])
    axes = tensor("axes", [2], np.array([1, 2], np.int32))
    means = operator(
        *(codes.MEAN, kinds.ReducerOptions, schema.ReducerOptionsT(), [faces, axes]),
        tensor("embedding", [1, foreign.channels]),
    )
    matrix = tensor("matrix", [count, foreign.channels], np.ascontiguousarray(weights_of(foreign).T))
    bias = tensor("bias", [count], np.zeros(count, np.float32))
    scores = operator(
        *(codes.FULLY_CONNECTED, kinds.FullyConnectedOptions, schema.FullyConnectedOptionsT(), [means, matrix, bias]),
        tensor("product", [1, count]),
    )
    if foreign.probabilities:
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        scores = operator(codes.SOFTMAX, kinds.SoftmaxOptions, softmax, [scores], tensor("said", [1, count]))
    graph.tensors[scores].name = "scores"
    graph.inputs, graph.outputs = [faces], [means, scores] if foreign.embedding else [scores]
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = METADATA_KEY, len(model.buffers)
    model.metadata = [metadata]
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(contract.to_json().encode(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def changed(contract: ModelContract, part: str, **changes: Any) -> ModelContract:
    """The contract with other values in one of its parts."""
    edited = dataclasses.replace(getattr(contract, part), **changes)
    return dataclasses.replace(contract, **{part: edited}).in_lowest_schema()
