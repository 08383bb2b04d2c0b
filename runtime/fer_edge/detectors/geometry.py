"""Geometry the detectors share: fitting a picture into a network's input, thinning boxes, and refusing numbers
that cannot be a face's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Box, Detection, Keypoints, Point

NMS_IOU = 0.3
# A picture is dark where fewer than this part of its values are above _DARK. Then it is made brighter, until so many
# are above _LIT: faces at 2 % of the light are found as well as in full light.
_BRIGHT_PART, _DARK, _LIT, _MOST_GAIN = 0.005, 48, 160.0, 20.0


@dataclass(frozen=True)
class Letterbox:
    """A picture scaled by `scale` and set in the middle of a black canvas. image_bgr: (h, w, 3) uint8."""

    image_bgr: NDArray[np.uint8]
    scale: float
    left_px: int
    top_px: int


def letterbox(image_bgr: NDArray[np.uint8], width_px: int, height_px: int) -> Letterbox:
    """Fit an image (h, w, 3) uint8 into a canvas of `width_px` x `height_px`, keeping its proportions."""
    scale = min(width_px / image_bgr.shape[1], height_px / image_bgr.shape[0])
    small = _brightened(_scaled(image_bgr, scale, (width_px, height_px)))
    height, width = small.shape[:2]
    left, top = (width_px - width) // 2, (height_px - height) // 2
    if (height, width) == (height_px, width_px):
        return Letterbox(small, scale, 0, 0)
    canvas = np.zeros((height_px, width_px, 3), dtype=np.uint8)
    canvas[top : top + height, left : left + width] = small
    return Letterbox(canvas, scale, left, top)


def _scaled(image_bgr: NDArray[np.uint8], scale: float, most: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture scaled, at least a pixel and at most `most` (width, height) in size.

    Both ways of scaling give the same pixels on x86 and Arm. INTER_AREA is fast by a factor of 2, and several times
    slower by others.
    """
    halvings = int(max(math.log2(1 / scale), 0))
    whole = [side >> halvings << halvings for side in image_bgr.shape[:2]]
    if 0 in whole:  # a picture of a few pixels' width or height
        halvings, whole = 0, list(image_bgr.shape[:2])
    small = image_bgr[: whole[0], : whole[1]]
    width, height = (min(max(round(side * scale), 1), limit) for side, limit in zip(whole[::-1], most, strict=True))
    for _ in range(halvings):
        size = (small.shape[1] // 2, small.shape[0] // 2)
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR_EXACT), dtype=np.uint8)


def _brightened(image_bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with more light, if it is a dark one."""
    if np.count_nonzero(image_bgr > _DARK) > _BRIGHT_PART * image_bgr.size:
        return image_bgr
    brightest = max(float(np.percentile(image_bgr, 100 * (1 - _BRIGHT_PART))), 1.0)
    return np.asarray(cv2.convertScaleAbs(image_bgr, alpha=min(_LIT / brightest, _MOST_GAIN)), dtype=np.uint8)


def detections_in_frame(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    keypoints: NDArray[np.floating],
    fitted: Letterbox,
    min_score: float,
) -> list[Detection]:
    """Faces of a picture, from boxes (n, 4) left, top, width, height, and keypoints (n, 4 or 5, 2), of its letterbox.

    The keypoints are in the order of `Keypoints.of`. Drops scores (n,) below `min_score` and, by non-maximum
    suppression, boxes that overlap a better one; best first. Raises ValueError for boxes that are not finite.
    """
    kept = scores >= min_score
    boxes, scores, keypoints = boxes[kept].astype(np.float32), scores[kept].astype(np.float32), keypoints[kept]
    if len(scores) == 0:
        return []
    if not np.isfinite(boxes).all():
        raise ValueError("a box is not finite")
    chosen = np.asarray(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), min_score, NMS_IOU), dtype=np.int64).ravel()
    order = sorted(chosen.tolist(), key=lambda i: -float(scores[i]))
    return [Detection(_to_frame(boxes[i], fitted), float(scores[i]), _points(keypoints[i], fitted)) for i in order]


def _to_frame(box: NDArray[np.float32], fitted: Letterbox) -> Box:
    left, top, width, height = (float(value) for value in box)
    return Box(
        (left - fitted.left_px) / fitted.scale,
        (top - fitted.top_px) / fitted.scale,
        width / fitted.scale,
        height / fitted.scale,
    )


def _points(rows: NDArray[np.floating], fitted: Letterbox) -> Keypoints:
    in_frame = (rows.astype(np.float64) - (fitted.left_px, fitted.top_px)) / fitted.scale
    return Keypoints.of([Point(x, y) for x, y in in_frame.tolist()])


def require_finite(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """The scores themselves. Raises ValueError where some are not finite: NaN would pass for "no face" everywhere."""
    unusable = int(np.count_nonzero(~np.isfinite(scores)))
    if unusable:
        raise ValueError(f"{unusable} of {scores.size} scores are not finite")
    return scores


def within_reach(found: Iterable[Detection], width_px: int, height_px: int) -> list[Detection]:
    """The detections that can be faces of a picture, their boxes cut off one picture's size beyond its edges.

    Leaves out boxes wholly outside the picture, boxes without area, and keypoints further out than a box may reach or
    not finite. Raises ValueError where a box or a score is not finite: where that face is nobody knows.
    """
    kept = []
    for one in found:
        box = one.box
        if not all(map(math.isfinite, (box.left_px, box.top_px, box.width_px, box.height_px, one.score))):
            raise ValueError("a box or a score is not finite")
        edges = (box.left_px, box.top_px, box.left_px + box.width_px, box.top_px + box.height_px)
        limits = (width_px, height_px, width_px, height_px)
        left, top, right, bottom = cut = tuple(map(_cut, edges, limits))
        if left < min(right, width_px) and right > 0 and top < min(bottom, height_px) and bottom > 0:
            box = box if cut == edges else Box(left, top, right - left, bottom - top)
            kept.append(Detection(box, one.score, _sensible(one.keypoints, width_px, height_px)))
    return kept


def _sensible(keypoints: Keypoints | None, width_px: int, height_px: int) -> Keypoints | None:
    """The keypoints, or None where one is nowhere near the picture. NaN is nowhere."""
    if keypoints is None:
        return None
    near = (-width_px <= p.x_px <= 2 * width_px and -height_px <= p.y_px <= 2 * height_px for p in keypoints.points)
    return keypoints if all(near) else None


def _cut(edge: float, limit: int) -> float:
    return min(max(edge, -float(limit)), 2.0 * limit)
