"""What the detectors share: fitting a picture into a network's square input, and thinning overlapping boxes."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Box, Detection

NMS_IOU = 0.3


@dataclass(frozen=True)
class Letterbox:
    """A picture scaled by `scale` and set in the middle of a black square. image_bgr: (side, side, 3) uint8."""

    image_bgr: NDArray[np.uint8]
    scale: float
    left_px: int
    top_px: int


def letterbox(image_bgr: NDArray[np.uint8], side_px: int) -> Letterbox:
    """Fit an image (h, w, 3) uint8 into a square of `side_px`, keeping its proportions."""
    height, width = image_bgr.shape[:2]
    scale = side_px / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    # INTER_AREA gives the same pixels on x86 and Arm; INTER_LINEAR does not.
    small = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)
    left, top = (side_px - size[0]) // 2, (side_px - size[1]) // 2
    square = np.zeros((side_px, side_px, 3), dtype=np.uint8)
    square[top : top + size[1], left : left + size[0]] = small
    return Letterbox(square, scale, left, top)


def detections_in_frame(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], fitted: Letterbox, min_score: float
) -> list[Detection]:
    """Boxes (n, 4) left, top, width, height in letterbox pixels and scores (n,) -> detections in frame pixels.

    Drops scores below `min_score` and, by non-maximum suppression, boxes that overlap a better one; best first.
    """
    kept = scores >= min_score
    boxes, scores = boxes[kept].astype(np.float32), scores[kept].astype(np.float32)
    if len(scores) == 0:
        return []
    chosen = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), min_score, NMS_IOU), dtype=np.int64).ravel()
    order = sorted(chosen.tolist(), key=lambda i: -float(scores[i]))
    return [Detection(_to_frame(boxes[i], fitted), float(scores[i])) for i in order]


def _to_frame(box: NDArray[np.float32], fitted: Letterbox) -> Box:
    left, top, width, height = (float(value) for value in box)
    return Box(
        (left - fitted.left_px) / fitted.scale,
        (top - fitted.top_px) / fitted.scale,
        width / fitted.scale,
        height / fitted.scale,
    )
