"""YuNet (Wu, Peng and Yu, 2023; libfacedetection), run by onnxruntime.

Input: 1x3xSxS BGR float 0..255, letterboxed. Outputs for strides 8, 16, 32: class and object scores, boxes, keypoints.
Score is sqrt(class * object); box centre is (column + dx, row + dy) * stride, size is exp(d) * stride.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.geometry import detections_in_frame, letterbox
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError
from fer_edge.frames import Detection

_STRIDES = (8, 16, 32)


class YuNetDetector:
    """Small and fast; finds smaller faces than MediaPipe's. See `Detector`."""

    name = "yunet"

    def __init__(self, path: Path, min_score: float, threads: int) -> None:
        self._engine = open_engine(path, threads=threads)
        shape = self._engine.input.shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise ModelError(f"{path}: input {shape}, expected (1, 3, side, side). Is it YuNet?")
        self.side_px, self._min_score = shape[2], min_score
        self._index = {spec.name: position for position, spec in enumerate(self._engine.outputs)}
        missing = {f"{head}_{stride}" for head in ("cls", "obj", "bbox") for stride in _STRIDES} - set(self._index)
        if missing:
            raise ModelError(f"{path}: no output {sorted(missing)[0]}. Is it YuNet?")

    def detect(self, image_bgr: NDArray[np.uint8]) -> list[Detection]:
        """See `Detector.detect`."""
        fitted = letterbox(image_bgr, self.side_px)
        tensor = np.ascontiguousarray(fitted.image_bgr.transpose(2, 0, 1)[None], dtype=np.float32)
        outputs = self._engine.run(tensor)
        parts = [self._decode(outputs, stride) for stride in _STRIDES]
        boxes = np.concatenate([part[0] for part in parts])
        scores = np.concatenate([part[1] for part in parts])
        return detections_in_frame(boxes, scores, fitted, self._min_score)

    def _decode(self, outputs: list[NDArray[Any]], stride: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Boxes (n, 4) in letterbox pixels and scores (n,) of one stride."""
        cls, obj, raw = (outputs[self._index[f"{head}_{stride}"]][0] for head in ("cls", "obj", "bbox"))
        side = self.side_px // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        centre = (np.stack([columns, rows], axis=1) + raw[:, :2]) * stride
        size = np.exp(raw[:, 2:4]) * stride
        scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        return np.concatenate([centre - size / 2, size], axis=1), scores
