"""An evaluator that shares no code with the chain: NumPy, OpenCV and the engines alone.

It reads no contract. A file that takes integers gets pixels, or pixels minus 128; one that takes floats gets them as
`scaled` makes them. Layout and size are those of the file's input.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Scaling = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def fer2013(cache: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Every face of a split (n, 48, 48), and its label: angry, disgust, fear, happy, sad, surprise or neutral."""
    arrays = np.load(cache)
    chosen = arrays["splits"] == list(arrays["split_names"]).index(split)
    return arrays["images"][chosen], arrays["labels"][chosen].astype(np.int64)


def scores(file: Path, images: NDArray[np.uint8], scaled: Scaling | None = None) -> NDArray[np.float32]:
    """The first output (n, classes) of an .onnx or .tflite for images, grey (n, h, w) or RGB (n, h, w, 3)."""
    shape, dtype, run = (_tflite if file.suffix == ".tflite" else _onnx)(file)
    is_nchw = shape[1] in (1, 3)
    height, width = shape[2:4] if is_nchw else shape[1:3]
    found = []
    for image in images:
        face = image
        if image.shape[:2] != (height, width):
            face = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        face = face.reshape(1, height, width, -1)
        fed = face.transpose(0, 3, 1, 2) if is_nchw else face
        if np.issubdtype(dtype, np.integer):
            found.append(run((fed.astype(int) - (128 if dtype == np.int8 else 0)).astype(dtype)))
        else:
            assert scaled is not None, f"{file.name} takes floats"
            found.append(run(scaled(fed.astype(np.float32)).astype(np.float32)))
    return np.concatenate(found)


def accuracy(file: Path, faces: tuple[NDArray[np.uint8], NDArray[np.int64]], scaled: Scaling | None = None) -> float:
    """The fraction of faces whose largest score is their label's."""
    images, labels = faces
    return float((scores(file, images, scaled).argmax(axis=1) == labels).mean())


_Run = Callable[[NDArray[np.generic]], NDArray[np.float32]]
_Opened = tuple[tuple[int, ...], np.dtype, _Run]


def _tflite(file: Path) -> _Opened:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file), num_threads=1)
    interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(fed: NDArray[np.generic]) -> NDArray[np.float32]:
        interpreter.set_tensor(entry["index"], fed)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"]).reshape(1, -1)

    return tuple(int(size) for size in entry["shape"]), np.dtype(entry["dtype"]), run


def _onnx(file: Path) -> _Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    kinds = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float)": np.float32}

    def run(fed: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {entry.name: fed})[0]).reshape(1, -1)

    return tuple(entry.shape), np.dtype(kinds[entry.type]), run
