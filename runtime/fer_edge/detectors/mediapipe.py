"""MediaPipe's full-range sparse face detector (Google, Apache-2.0), run by LiteRT without the mediapipe package.

Input: 1x192x192x3 RGB float in [-1, 1], letterboxed. Outputs: 1x2304x16 (box centre, size and six keypoints, in pixels
of the input) and 1x2304x1 (logit), for the centres of a 48x48 grid of anchors.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.geometry import detections_in_frame, letterbox, require_finite
from fer_edge.engines import open_engine
from fer_edge.errors import ModelError
from fer_edge.frames import Detection

_SIDE_PX, _GRID = 192, 48
# Right eye, left eye, tip of the nose, centre of the mouth; the ears, which follow, are not used.
_KEYPOINTS = slice(4, 12)
# What scores less is a face hardly more often than it is not; see docs/privacy.md.
_FAINT_SCORE = 0.2
_MIN_SCORE = 0.6


class MediaPipeDetector:
    """Faces up to about five metres away. See `Detector`."""

    name = "mediapipe"
    side_px = _SIDE_PX

    def __init__(self, path: Path, min_score: float | None, threads: int) -> None:
        self._engine = open_engine(path, threads=threads, pinned=True)
        if self._engine.input.shape != (1, _SIDE_PX, _SIDE_PX, 3):
            raise ModelError(f"{path}: input {self._engine.input.shape}, expected (1, 192, 192, 3). Is it full-range?")
        self.min_score = _MIN_SCORE if min_score is None else min_score
        steps = (np.arange(_GRID, dtype=np.float32) + 0.5) * (_SIDE_PX / _GRID)
        x, y = np.meshgrid(steps, steps)
        self._anchors_px = np.stack([x.ravel(), y.ravel()], axis=1)

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """See `Detector.detect`."""
        lowest = min(self.min_score, _FAINT_SCORE) if faint else self.min_score
        fitted = letterbox(image_bgr, _SIDE_PX, _SIDE_PX)
        rgb = cv2.cvtColor(fitted.image_bgr, cv2.COLOR_BGR2RGB).astype(np.float32)
        rgb /= 127.5
        rgb -= 1.0
        outputs = sorted(self._engine.run(rgb[None]), key=lambda output: -output.shape[-1])
        regression, logits = outputs[0][0], outputs[1][0, :, 0]
        scores = 1 / (1 + np.exp(-np.clip(require_finite(logits), -80, 80)))
        # Few of the anchors see a face: only those are worked out.
        kept = np.flatnonzero(scores >= lowest)
        scores, size = scores[kept], regression[kept, 2:4]
        anchors = self._anchors_px[kept]
        boxes = np.concatenate([regression[kept, :2] + anchors - size / 2, size], axis=1)
        keypoints = regression[kept, _KEYPOINTS].reshape(-1, 4, 2) + anchors[:, None]
        return detections_in_frame(boxes, scores, keypoints, fitted, lowest)
