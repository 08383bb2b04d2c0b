"""YuNet (Wu, Peng and Yu, 2023; libfacedetection), run by onnxruntime.

Input: 1x3xSxS BGR float 0..255, letterboxed. Outputs for strides 8, 16, 32: class and object scores, boxes, keypoints.
Score is sqrt(class * object); box centre is (column + dx, row + dy) * stride, size is exp(d) * stride. Keypoints are
right eye, left eye, tip of the nose, right and left corner of the mouth, each (column + dx, row + dy) * stride.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.geometry import detections_in_frame, letterbox, require_finite
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError
from fer_edge.frames import Detection

_STRIDES = (8, 16, 32)
_HEADS = ("cls", "obj", "bbox", "kps")
# What scores less is a face hardly more often than it is not; see docs/privacy.md.
_FAINT_SCORE = 0.15


class YuNetDetector:
    """Small and fast; finds smaller faces than MediaPipe's. See `Detector`."""

    name = "yunet"

    def __init__(self, path: Path, min_score: float, threads: int) -> None:
        self._engine = open_engine(path, threads=threads)
        shape = self._engine.input.shape
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise ModelError(f"{path}: input {shape}, expected (1, 3, side, side). Is it YuNet?")
        self.side_px, self.min_score = shape[2], min_score
        self._index = {spec.name: position for position, spec in enumerate(self._engine.outputs)}
        missing = {f"{head}_{stride}" for head in _HEADS for stride in _STRIDES} - set(self._index)
        if missing:
            raise ModelError(f"{path}: no output {sorted(missing)[0]}. Is it YuNet?")

        centres = [_cell_origins(self.side_px // stride) * stride for stride in _STRIDES]
        self._origins_px = np.concatenate(centres).astype(np.float32)
        self._strides = np.repeat(np.asarray(_STRIDES, dtype=np.float32), [len(part) for part in centres])[:, None]

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """See `Detector.detect`."""
        lowest = min(self.min_score, _FAINT_SCORE) if faint else self.min_score
        fitted = letterbox(image_bgr, self.side_px, self.side_px)
        tensor = np.stack(cv2.split(fitted.image_bgr))[None].astype(np.float32)
        outputs = self._engine.run(tensor)
        cls, obj, raw, points = (self._joined(outputs, head) for head in _HEADS)
        cls, obj = (np.clip(require_finite(head[:, 0]), 0, 1) for head in (cls, obj))
        scores = np.sqrt(cls * obj)
        # Few of the cells see a face: only those are worked out.
        kept = np.flatnonzero(scores >= lowest)
        centre = self._origins_px[kept] + raw[kept, :2] * self._strides[kept]
        with np.errstate(over="ignore", invalid="ignore"):  # a size that overflows is refused below
            size = np.exp(raw[kept, 2:4]) * self._strides[kept]
            boxes = np.concatenate([centre - size / 2, size], axis=1)
            keypoints = (points[kept] * self._strides[kept]).reshape(-1, 5, 2) + self._origins_px[kept, None]
        return detections_in_frame(boxes, scores[kept], keypoints, fitted, lowest)

    def _joined(self, outputs: list[NDArray[Any]], head: str) -> NDArray[Any]:
        """One head's rows of all strides, (cells, values)."""
        return np.concatenate([outputs[self._index[f"{head}_{stride}"]][0] for stride in _STRIDES])


def _cell_origins(side: int) -> NDArray[np.int64]:
    """Column and row (side * side, 2) of each cell of a square grid, row by row."""
    rows, columns = np.divmod(np.arange(side * side), side)
    return np.stack([columns, rows], axis=1)
