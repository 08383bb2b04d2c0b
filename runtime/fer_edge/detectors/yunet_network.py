"""YuNet's network on one canvas: pixels in, faces out.

Published: 1x3xSxS BGR float 0..255, letterboxed; class and object scores, boxes and keypoints, (1, cells, values) for
each of the strides 8, 16 and 32. Made here (`fer-edge-lab make-detector`): 1xHxWx3 BGR, float or int8 (the pixel minus
128); the same as maps (1, rows, columns, values), with logits in place of scores.

Score is sqrt(class * object); box centre is (column + dx, row + dy) * stride, size is exp(d) * stride. Keypoints are
right eye, left eye, tip of the nose, right and left corner of the mouth, each (column + dx, row + dy) * stride.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.canvas import STEP_PX, Canvas, with_canvas
from fer_edge.detectors.geometry import detections_in_frame, letterbox, require_finite
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError
from fer_edge.frames import Detection

_STRIDES = (8, 16, 32)
_VALUES = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
OUTPUTS = tuple(f"{head}_{stride}" for head in _VALUES for stride in _STRIDES)
"""The outputs by name, in the order a .tflite gives them."""


class YuNetNetwork:
    """The network of the file at `path`; a .tflite is laid out for `canvas`, an .onnx has its own.

    `tried` says that the file ran before, on another canvas. Raises ModelError for a file that is not YuNet.
    """

    def __init__(self, path: Path, threads: int, canvas: Canvas | None = None, *, tried: bool = False) -> None:
        change = None if canvas is None else lambda data: with_canvas(data, canvas, str(path))
        self._engine = open_engine(path, threads=threads, pinned=tried, change=change)
        self._maps = path.suffix == ".tflite"
        self.canvas = self._canvas(path)
        self._order = self._order_of_outputs(path)
        grids = [
            _cell_origins(self.canvas.width_px // stride, self.canvas.height_px // stride) * stride
            for stride in _STRIDES
        ]
        self._origins_px = np.concatenate(grids).astype(np.float32)
        self._strides = np.repeat(np.asarray(_STRIDES, dtype=np.float32), [len(part) for part in grids])[:, None]

    def _canvas(self, path: Path) -> Canvas:
        """Size of the input. Raises ModelError where it is no picture this class can give it."""
        shape, dtype = self._engine.input.shape, self._engine.input.dtype
        sides = shape[1:3] if self._maps else shape[2:]
        channels = shape[-1] if self._maps else shape[1] if len(shape) == 4 else 0
        if len(shape) != 4 or channels != 3 or any(side < STEP_PX or side % STEP_PX for side in sides):
            raise ModelError(f"{path}: input {shape}, expected a picture, its sides multiples of 32. Is it YuNet?")
        if dtype not in ("float32", "int8"):
            raise ModelError(f"{path}: input of {dtype}, expected float32 or int8. Make it again.")
        return Canvas(sides[1], sides[0])

    def _order_of_outputs(self, path: Path) -> list[int]:
        """Position of each of OUTPUTS among the file's. Raises ModelError where one is missing or of another shape."""
        found = self._engine.outputs
        names = list(OUTPUTS[: len(found)]) if self._maps else [spec.name for spec in found]
        for name in OUTPUTS:
            head, stride = name.split("_")
            rows, columns = self.canvas.height_px // int(stride), self.canvas.width_px // int(stride)
            shape = (1, rows, columns, _VALUES[head]) if self._maps else (1, rows * columns, _VALUES[head])
            if name not in names:
                raise ModelError(f"{path}: no output {name}. Is it YuNet?")
            if found[names.index(name)].shape != shape:
                raise ModelError(f"{path}: output {name} {found[names.index(name)].shape}, expected {shape}.")
        return [names.index(name) for name in OUTPUTS]

    def detect(self, image_bgr: NDArray[np.uint8], least_score: float) -> list[Detection]:
        """Faces of an image (h, w, 3) uint8 from `least_score` on, best first, in its pixels.

        Raises ValueError where the network's numbers are not finite.
        """
        fitted = letterbox(image_bgr, self.canvas.width_px, self.canvas.height_px)
        outputs = self._engine.run(self._tensor(fitted.image_bgr))
        cls, obj, raw, points = (self._joined(outputs, head) for head in _VALUES)
        scores = np.sqrt(self._probability(cls[:, 0]) * self._probability(obj[:, 0]))
        # Few of the cells see a face: only those are worked out.
        kept = np.flatnonzero(scores >= least_score)
        origins, strides = self._origins_px[kept], self._strides[kept]
        centre = origins + raw[kept, :2] * strides
        with np.errstate(over="ignore", invalid="ignore"):  # a size that overflows is refused below
            size = np.exp(raw[kept, 2:4]) * strides
            boxes = np.concatenate([centre - size / 2, size], axis=1)
        keypoints = (points[kept] * strides).reshape(-1, 5, 2) + origins[:, None]
        return detections_in_frame(boxes, scores[kept], keypoints, fitted, least_score)

    def _tensor(self, canvas_bgr: NDArray[np.uint8]) -> NDArray[Any]:
        """A canvas (h, w, 3) as the file's input."""
        if not self._maps:
            return np.stack(cv2.split(canvas_bgr))[None].astype(np.float32)
        if self._engine.input.dtype == "int8":
            return (canvas_bgr ^ np.uint8(128)).view(np.int8)[None]
        return canvas_bgr[None].astype(np.float32)

    def _probability(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores, or a .tflite's logits, as probabilities in [0, 1]."""
        finite = require_finite(scores)
        probability = 1 / (1 + np.exp(-np.clip(finite, -80, 80))) if self._maps else np.clip(finite, 0, 1)
        return np.asarray(probability, dtype=np.float32)

    def _joined(self, outputs: list[NDArray[Any]], head: str) -> NDArray[Any]:
        """One head's rows of all strides, (cells, values)."""
        places = [self._order[OUTPUTS.index(f"{head}_{stride}")] for stride in _STRIDES]
        return np.concatenate([outputs[place].reshape(-1, _VALUES[head]) for place in places])


def _cell_origins(width: int, height: int) -> NDArray[np.int64]:
    """Column and row (width * height, 2) of each cell of a grid, row by row."""
    rows, columns = np.divmod(np.arange(width * height), width)
    return np.stack([columns, rows], axis=1)
