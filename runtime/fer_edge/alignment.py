"""Alignment: rotate, scale and shift a face so that eyes, nose and mouth lie where a model expects them."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.frames import Keypoints

# In pixels of the frame: keypoints that lie closer together say nothing of a face's direction.
_LEAST_SPREAD_PX = 0.5
# Around the part of the frame that a crop shows, for interpolation.
_BORDER_PX = 2


def aligned(
    image_bgr: NDArray[np.uint8], keypoints: Keypoints, template_px: NDArray[np.float64], size_px: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """The crop (height, width, 3) uint8 of an image (h, w, 3) uint8 with the keypoints on `template_px` (5, 2).

    None where the keypoints are all in one place. What lies outside the frame repeats the frame's edge.
    """
    points = np.array([(point.x_px, point.y_px) for point in keypoints.points], dtype=np.float64)
    # A detector without the corners of the mouth gives its centre.
    target = template_px if len(points) == len(template_px) else _with_mouth_centre(template_px)
    to_crop = similarity(points, target)
    return None if to_crop is None else _warped(image_bgr, to_crop, size_px)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The matrix (2, 3) of rotation, scale and shift that brings `source` (n, 2) nearest to `target` (n, 2).

    Least squares without reflection (Umeyama, 1991). None where the points of `source` are all in one place.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_centre, to_centre = source - source_mean, target - target_mean
    variance = float((from_centre**2).sum() / len(source))
    if not math.isfinite(variance) or variance < _LEAST_SPREAD_PX**2:
        return None
    # In the plane the singular value decomposition comes down to a sum of dot and of cross products.
    along = float((from_centre * to_centre).sum())
    across = float((from_centre[:, 0] * to_centre[:, 1] - from_centre[:, 1] * to_centre[:, 0]).sum())
    a, b = np.array([along, across]) / (variance * len(source))
    if math.hypot(a, b) < 1e-9:
        return None
    turned = np.array([[a, -b], [b, a]])
    return np.column_stack([turned, target_mean - turned @ source_mean])


def _with_mouth_centre(template_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eyes, nose and the centre of the mouth (4, 2)."""
    return np.vstack([template_px[:3], template_px[3:].mean(axis=0)])


def _warped(image_bgr: NDArray[np.uint8], to_crop: NDArray[np.float64], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """The crop that `to_crop` maps the image to. A face larger than the crop is first made smaller by area."""
    left, top, right, bottom = _seen(image_bgr.shape, to_crop, size_px)
    part = image_bgr[top:bottom, left:right]
    scale = min(math.hypot(to_crop[0, 0], to_crop[1, 0]), 1.0)
    width, height = (max(round(side * scale), 1) for side in (right - left, bottom - top))
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else part
    factors = np.array([(right - left) / small.shape[1], (bottom - top) / small.shape[0]])
    # From pixels of the small part, whose centres are at halves, to those of the frame, and from there to the crop.
    turned = to_crop[:, :2] * factors
    shift = to_crop[:, :2] @ (np.array([left, top]) + (factors - 1) / 2) + to_crop[:, 2]
    matrix = np.column_stack([turned, shift])
    warped = cv2.warpAffine(small, matrix, size_px[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)


def _seen(shape: tuple[int, ...], to_crop: NDArray[np.float64], size_px: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a frame that the crop shows: left, top, right, bottom in whole pixels, at least one of them."""
    height, width = size_px
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], dtype=np.float64)
    in_frame = (corners - to_crop[:, 2]) @ np.linalg.inv(to_crop[:, :2]).T
    low, high = in_frame.min(axis=0) - _BORDER_PX, in_frame.max(axis=0) + _BORDER_PX
    limits = np.array([shape[1], shape[0]])
    first = np.clip(np.floor(low), 0, limits - 1).astype(int)
    last = np.maximum(np.clip(np.ceil(high), 0, limits).astype(int), first + 1)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])
