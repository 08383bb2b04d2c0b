"""The job of `fer-edge-lab make-detector`: find the published file, calibrate, make INT8 of it, judge, report."""

import argparse
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors import DATA, DETECTOR_FILES, MADE_KEY, checked_file, open_detector
from fer_edge.detectors.canvas import Canvas, with_canvas
from fer_edge.detectors.yunet_network import OUTPUTS
from fer_edge.errors import DataError, UsageError
from fer_edge.fetch import fetch_detector
from fer_edge.files import atomic_write, sha256_of

from export.detector import INPUT, Layer, Network, float_tflite, read_yunet
from export.metadata import put_text_in_tflite, read_tflite
from export.quiet import quiet
from quantize.detector.scenes import BucketRecall, Portrait, Scene, portraits, recall_by_size, require_recall, scenes

GATED = (Canvas(64, 64), Canvas(160, 128), Canvas(320, 256))
_YUNET = DETECTOR_FILES["yunet"]
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov")
# Neighbouring frames of a video show the same face in the same light.
_EACH_NTH_FRAME = 40


def make(options: argparse.Namespace) -> None:
    """Make the files of every canvas asked for, or the one of the runtime."""
    source = _source(options)
    if source is None:
        return
    if source.suffix != ".onnx":
        raise UsageError(f"--source {source}: expected the published .onnx.")
    pictures = portraits(_images(options.pictures), open_detector("yunet", source))
    print(f"{len(pictures)} pictures with one face")
    if not options.canvases:
        file = DATA / str(_YUNET.made_filename)
        for canvas, recall in make_for_runtime(source, pictures, file).items():
            _print_recall(f"canvas {canvas.width_px}x{canvas.height_px}", recall)
        print(f"{file}: the detector of fer-edge from now on")
    for width_px, height_px in options.canvases:
        made = make_detector(source, pictures, width_px, height_px, options.out)
        _print_recall(str(made.int8_file), made.recall)


def _source(options: argparse.Namespace) -> Path | None:
    """The published file: --source, or fetched. None where it cannot be had and need not be."""
    if options.source is not None:
        return checked_file(_YUNET, options.source)
    try:
        return fetch_detector(_YUNET.name)
    except UsageError as error:
        if not options.or_mediapipe:
            raise
        print(f"the face detector is MediaPipe's, which finds fewer faces for more work: {error}")
        return None


def _print_recall(title: str, recall: Iterable[BucketRecall]) -> None:
    print(title)
    for row in recall:
        print(f"  {row.low_px:>3} px and more: {row.faces} faces, float {row.found_float}, INT8 {row.found_int8}")


def _images(paths: Sequence[Path]) -> Iterator[Any]:
    """Every picture of the files and folders; of videos each 40th frame. Raises DataError for what cannot be read."""
    for path in paths:
        if path.is_dir():
            yield from _images(sorted(one for one in path.iterdir() if one.is_file()))
        elif path.suffix.lower() in _VIDEOS:
            yield from _frames(path)
        else:
            image = cv2.imread(str(path))
            if image is None:
                raise DataError(f"--pictures {path}: not a picture OpenCV can read, or not there. Name photographs.")
            yield image


def _frames(path: Path) -> Iterator[Any]:
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise DataError(f"--pictures {path}: not a video OpenCV can read, or not there. Name photographs or videos.")
    for index in count():
        if not video.grab():
            return
        if index % _EACH_NTH_FRAME == 0:
            yield video.retrieve()[1]


"""Canvases on which the runtime's file is judged: one to follow a face on, a near range and a far one."""
_CALIBRATION_SCENES, _GATE_SCENES = 60, 700
# Ranges of boxes and keypoints come from cells whose class logit is above it; elsewhere they are noise.
_NEAR_A_FACE = -1.5
# A probability of 0.9997: more than that is not worth a coarser step for all other scores.
_MOST_LOGIT = 8.0
_BEYOND = 0.1
_SMALLEST_FACTOR = 0.03


@dataclass(frozen=True)
class MadeDetector:
    """The two files of one canvas, and what they find."""

    float_file: Path
    int8_file: Path
    recall: tuple[BucketRecall, ...]


def make_detector(
    source: Path, pictures: Sequence[Portrait], width_px: int, height_px: int, folder: Path
) -> MadeDetector:
    """Write `yunet-<width>x<height>.fp32.tflite` and `.int8.tflite` into `folder` from the published .onnx.

    The gate's scenes show the same faces as calibration's, at other places and sizes. Raises GateError, and writes
    nothing, where INT8 loses faces of some size.
    """
    canvas = Canvas(width_px, height_px)
    made = _made(source, pictures, canvas)
    recall = _require_canvas(made, pictures, canvas)
    files = {precision: folder / f"yunet-{width_px}x{height_px}.{precision}.tflite" for precision in made}
    for precision, file in files.items():
        with atomic_write(file) as path:
            path.write_bytes(made[precision])
    return MadeDetector(files["fp32"], files["int8"], recall)


def make_for_runtime(source: Path, pictures: Sequence[Portrait], file: Path) -> dict[Canvas, tuple[BucketRecall, ...]]:
    """Write the INT8 network that the runtime lays out for any canvas, and return its recall on GATED ones.

    Raises GateError, and writes nothing, where INT8 loses faces of some size on one of them.
    """
    made = _made(source, pictures, GATED[-1])
    recall = {canvas: _require_canvas(made, pictures, canvas) for canvas in GATED}
    with atomic_write(file) as path:
        path.write_bytes(made["int8"])
    return recall


def _made(source: Path, pictures: Sequence[Portrait], canvas: Canvas) -> dict[str, bytes]:
    """The float and the INT8 file for a canvas, by precision."""
    examples = scenes(pictures, canvas.width_px, canvas.height_px, count=_CALIBRATION_SCENES, seed=1)
    content = float_tflite(equalized(read_yunet(source), examples), canvas.width_px, canvas.height_px)
    facts = {"network": "yunet", "source_sha256": sha256_of(source)}
    return {
        precision: put_text_in_tflite(file, MADE_KEY, json.dumps({**facts, "precision": precision}))
        for precision, file in (("fp32", content), ("int8", int8_tflite(content, examples)))
    }


def _require_canvas(made: dict[str, bytes], pictures: Sequence[Portrait], canvas: Canvas) -> tuple[BucketRecall, ...]:
    """Recall of both files laid out for a canvas. Raises GateError where INT8 loses faces."""
    with tempfile.TemporaryDirectory() as folder:
        detectors = []
        for precision, file in made.items():
            path = Path(folder) / f"{precision}.tflite"
            path.write_bytes(with_canvas(file, canvas, precision))
            detectors.append(open_detector("yunet", path))
        examples = scenes(pictures, canvas.width_px, canvas.height_px, count=_GATE_SCENES, seed=2)
        recall = tuple(recall_by_size(examples, *detectors))
    require_recall(recall)
    return recall


def equalized(network: Network, examples: Sequence[Scene]) -> Network:
    """The same function with like ranges in the channels between two convolutions.

    After Nagel et al. (2019), "Data-Free Quantization Through Weight Equalization and Bias Correction", with ranges
    that were measured in place of ones derived. Values that pooling, ADD or an output read keep their scale.
    """
    peaks = _channel_peaks(network, examples)
    layers = {layer.output: layer for layer in network.layers}
    for name, reader in _between_convolutions(network):
        factors = _factors(peaks[name[-1]], layers[reader])
        layers[name[0]] = _divided(layers[name[0]], factors)
        layers[reader] = _multiplied(layers[reader], factors)
    return Network(tuple(layers[layer.output] for layer in network.layers))


def _between_convolutions(network: Network) -> Iterator[tuple[tuple[str, ...], str]]:
    """A convolution's output, with that of a ReLU behind it, and the output of the convolution that alone reads it."""
    readers: dict[str, list[Layer]] = {}
    for layer in network.layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer)
    for layer in network.layers:
        chain = [layer.output]
        following = readers.get(layer.output, [])
        if len(following) == 1 and following[0].kind == "relu":
            chain.append(following[0].output)
            following = readers.get(chain[-1], [])
        if layer.kind == "conv" and len(following) == 1 and following[0].kind == "conv" and chain[-1] not in OUTPUTS:
            yield tuple(chain), following[0].output


def _factors(peak: NDArray[np.float32], reader: Layer) -> NDArray[np.float32]:
    peak = np.maximum(peak, 1e-6)
    if reader.depthwise:  # its weights have a scale a channel anyway
        factors = peak / peak.max()
    else:
        assert reader.weight is not None
        factors = np.sqrt(peak / np.maximum(np.abs(reader.weight).max(axis=(0, 2, 3)), 1e-6))
        factors = factors / factors.max()
    return np.asarray(np.maximum(factors, _SMALLEST_FACTOR), dtype=np.float32)


def _divided(layer: Layer, factors: NDArray[np.float32]) -> Layer:
    assert layer.weight is not None and layer.bias is not None
    return replace(layer, weight=layer.weight / factors[:, None, None, None], bias=layer.bias / factors)


def _multiplied(layer: Layer, factors: NDArray[np.float32]) -> Layer:
    assert layer.weight is not None
    spread = factors[:, None, None, None] if layer.depthwise else factors[None, :, None, None]
    return replace(layer, weight=layer.weight * spread)


def _channel_peaks(network: Network, examples: Sequence[Scene]) -> dict[str, NDArray[np.float32]]:
    peaks: dict[str, NDArray[np.float32]] = {}
    for values in _activations(float_tflite(network, *_size(examples)), examples):
        for name, value in values.items():
            peak = np.abs(value).max(axis=tuple(range(value.ndim - 1)))
            peaks[name] = np.maximum(peaks[name], peak) if name in peaks else peak
    return peaks


def _size(examples: Sequence[Scene]) -> tuple[int, int]:
    height, width = examples[0].image_bgr.shape[:2]
    return width, height


def _activations(content: bytes, examples: Iterable[Scene]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Every float value of a float .tflite by name, for each example."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        reader = Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        reader.allocate_tensors()
    graph = read_tflite(content).subgraphs[0]
    computed = {*graph.inputs, *(int(operator.outputs[0]) for operator in graph.operators)}
    details = [one for one in reader.get_tensor_details() if one["index"] in computed]
    for example in examples:
        reader.set_tensor(reader.get_input_details()[0]["index"], example.image_bgr[None].astype(np.float32))
        reader.invoke()
        yield {one["name"]: reader.get_tensor(one["index"]) for one in details}


def int8_tflite(content: bytes, examples: Sequence[Scene]) -> bytes:
    """A float .tflite of `float_tflite` as INT8: int8 in (the pixel minus 128) and out, weights a scale a channel."""
    from ai_edge_quantizer import qtyping, quantizer

    statistics = {
        name: {"min": np.array([[low]], np.float32), "max": np.array([[high]], np.float32)}
        for name, (low, high) in _ranges(content, examples).items()
    }
    with quiet():
        worker = quantizer.Quantizer(content)
        worker.add_static_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            activation_num_bits=8,
            weight_num_bits=8,
            weight_granularity=qtyping.QuantGranularity.CHANNELWISE,
        )
        result = worker.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _ranges(content: bytes, examples: Sequence[Scene]) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each tensor over the examples; of boxes and keypoints only near faces."""
    ranges: dict[str, tuple[float, float]] = {}
    for values in _activations(content, examples):
        for name, value in _near_faces(values).items():
            if value.size:
                low, high = ranges.get(name, (np.inf, -np.inf))
                ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    ranges[INPUT] = ranges[f"{INPUT}_padded"] = (0.0, 255.0)
    for name in OUTPUTS:
        low, high = ranges.get(name, (-4.0, 4.0))  # a coarse map of a small canvas may see no face
        if name.startswith(("cls", "obj")):
            ranges[name] = max(low, -_MOST_LOGIT), min(high, _MOST_LOGIT)
        else:
            ranges[name] = low - _BEYOND * (high - low), high + _BEYOND * (high - low)
    return ranges


def _near_faces(values: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    chosen = dict(values)
    for name in OUTPUTS:
        head, stride = name.split("_")
        if head in ("bbox", "kps"):
            chosen[name] = values[name][values[f"cls_{stride}"][..., 0] > _NEAR_A_FACE]
    return chosen
