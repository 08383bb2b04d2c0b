"""Whole models of a kilobyte or two, made by hand: small enough to be loaded and run thousands of times a second."""

import dataclasses
import functools

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import METADATA_KEY, FaceCrop, InputSpec, ModelContract, OutputSpec

SIDE_PX = 8
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_OPERATORS = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions
_INT8_VERSIONS = {
    _OPERATORS.CONV_2D: 3,
    _OPERATORS.DEPTHWISE_CONV_2D: 3,
    _OPERATORS.ADD: 2,
    _OPERATORS.MAX_POOL_2D: 2,
    _OPERATORS.FULLY_CONNECTED: 4,
}
_FLOAT32, _INT8, _INT32 = schema.TensorType.FLOAT32, schema.TensorType.INT8, schema.TensorType.INT32


def contract_of(dtype: str, layout: str) -> ModelContract:
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    return ModelContract(
        name="tiny",
        task="expression7",
        labels=LABELS,
        input=InputSpec(
            height_px=SIDE_PX, width_px=SIDE_PX, colour="grey", layout=layout, dtype=dtype, low=low, high=high
        ),
        face_crop=FaceCrop(margin=0.05, square=True, alignment="none"),
        output=OutputSpec(meaning="logits", temperature=1.0),
        precision="int8" if dtype == "int8" else "fp32",
        checkpoint_sha256="0" * 64,
        trained_on="nothing",
        licence="Apache-2.0",
        producer="tests",
        created="2026-11-22",
    )


def foreign_contract() -> ModelContract:
    """Of somebody else's network: colour, mean and std, its own labels, one output of several, five-point alignment."""
    return dataclasses.replace(
        contract_of("float16", "NHWC"),
        task="classes",
        labels=("Überraschung", "🙂", "no idea"),
        input=InputSpec(
            height_px=112,
            width_px=96,
            colour="rgb",
            layout="NHWC",
            dtype="float16",
            low=0,
            high=255,
            mean=(123.7, 116.3, 103.5),
            std=(58.4, 57.1, 57.4),
        ),
        face_crop=FaceCrop(margin=0.1, square=True, alignment="five-point", template="arcface-112"),
        output=OutputSpec(meaning="probabilities", temperature=1.0, index=1),
    ).in_lowest_schema()


class _Builder:
    """Collects tensors, buffers and operators of a .tflite."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        self.tensors: list[schema.TensorT] = []
        self.buffers: list[schema.BufferT] = [schema.BufferT()]
        self.codes: list[schema.OperatorCodeT] = []
        self.operators: list[schema.OperatorT] = []
        self._random = np.random.default_rng(0)

    def tensor(self, shape: list[int], dtype: int | None = None, data: np.ndarray | None = None) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = shape, self.dtype if dtype is None else dtype, f"t{len(self.tensors)}"
        tensor.buffer = 0
        if data is not None:
            tensor.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT())
            self.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        if scale := {_INT8: 0.1, _INT32: 0.1 * 0.1}.get(tensor.type):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def weights(self, shape: list[int]) -> int:
        values = self._random.integers(-9, 9, shape)
        return self.tensor(shape, data=values.astype(np.int8 if self.dtype == _INT8 else np.float32))

    def bias(self, count: int) -> int:
        dtype = _INT32 if self.dtype == _INT8 else _FLOAT32
        values = self._random.integers(-9, 9, count)
        return self.tensor([count], dtype, values.astype(np.int32 if dtype == _INT32 else np.float32))

    def operator(self, code: int, options_type: int, options: object, inputs: list[int], output: int) -> int:
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = _INT8_VERSIONS.get(code, 1) if self.dtype == _INT8 else 1
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.codes.append(entry)
        self.operators.append(operator)
        return output


def _convolution(stride: int) -> schema.Conv2DOptionsT:
    options = schema.Conv2DOptionsT()
    options.strideW = options.strideH = stride
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    return options


def _depthwise() -> schema.DepthwiseConv2DOptionsT:
    options = schema.DepthwiseConv2DOptionsT()
    options.strideW = options.strideH = options.depthMultiplier = 1
    options.dilationWFactor = options.dilationHFactor = 1
    return options


def _pool() -> schema.Pool2DOptionsT:
    options = schema.Pool2DOptionsT()
    options.strideW = options.strideH = options.filterWidth = options.filterHeight = 2
    return options


def _reshape(shape: list[int]) -> schema.ReshapeOptionsT:
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    return options


@functools.cache
def tiny_tflite(dtype: str = "float32") -> bytes:
    """Convolution, depthwise convolution, pooling, addition, reshape and a fully connected layer, with a contract."""
    build = _Builder(_INT8 if dtype == "int8" else _FLOAT32)
    side = SIDE_PX // 2
    faces = build.tensor([1, SIDE_PX, SIDE_PX, 1])
    conv = [faces, build.weights([4, 3, 3, 1]), build.bias(4)]
    x = build.operator(
        _OPERATORS.CONV_2D, _OPTIONS.Conv2DOptions, _convolution(2), conv, build.tensor([1, side, side, 4])
    )
    deep = [x, build.weights([1, 3, 3, 4]), build.bias(4)]
    y = build.operator(
        *(_OPERATORS.DEPTHWISE_CONV_2D, _OPTIONS.DepthwiseConv2DOptions, _depthwise(), deep),
        build.tensor([1, side, side, 4]),
    )
    x = build.operator(
        *(_OPERATORS.ADD, _OPTIONS.AddOptions, schema.AddOptionsT(), [x, y]), build.tensor([1, side, side, 4])
    )
    x = build.operator(
        *(_OPERATORS.MAX_POOL_2D, _OPTIONS.Pool2DOptions, _pool(), [x]), build.tensor([1, side // 2, side // 2, 4])
    )
    shape = build.tensor([2], _INT32, np.array([1, 16], np.int32))
    x = build.operator(
        *(_OPERATORS.RESHAPE, _OPTIONS.ReshapeOptions, _reshape([1, 16]), [x, shape]), build.tensor([1, 16])
    )
    dense = [x, build.weights([7, 16]), build.bias(7)]
    logits = build.operator(
        *(_OPERATORS.FULLY_CONNECTED, _OPTIONS.FullyConnectedOptions, schema.FullyConnectedOptionsT(), dense),
        build.tensor([1, 7]),
    )
    return _packed(build, faces, logits, contract_of(dtype, "NHWC"))


def _packed(build: _Builder, faces: int, logits: int, contract: ModelContract) -> bytes:
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = build.tensors, build.operators
    graph.inputs, graph.outputs, graph.name = [faces], [logits], "main"
    metadata = schema.MetadataT()
    metadata.name, metadata.buffer = METADATA_KEY, len(build.buffers)
    build.buffers.append(schema.BufferT())
    build.buffers[-1].data = np.frombuffer(contract.to_json().encode(), np.uint8)
    signature, first, last = schema.SignatureDefT(), schema.TensorMapT(), schema.TensorMapT()
    first.name, first.tensorIndex, last.name, last.tensorIndex = "faces", faces, "logits", logits
    signature.inputs, signature.outputs, signature.signatureKey = [first], [last], "serving_default"
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, build.codes, [graph]
    model.buffers, model.metadata, model.signatureDefs = build.buffers, [metadata], [signature]
    return packed(model)


def packed(model: schema.ModelT) -> bytes:
    """A model of the schema's object API as the bytes of a .tflite."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def unpacked(data: bytes) -> schema.ModelT:
    """The bytes of a .tflite as the schema's object API."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


@functools.cache
def tiny_onnx() -> bytes:
    """Cast, convolution, pooling, and a matrix product, with a contract."""
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(0, 0.1, (4, 1, 3, 3)).astype(np.float32),
        "matrix": random.normal(0, 0.1, (4, 7)).astype(np.float32),
        "shape": np.array([-1, 4], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["faces"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "kernel"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", 1, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    contract = dataclasses.replace(contract_of("uint8", "NCHW"), precision="fp32")
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    return bytes(model.SerializeToString())
