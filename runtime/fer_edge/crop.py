"""Cut faces out of a frame exactly as the model's contract says: by a box and its margin, or by five points."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FaceCrop, ModelContract
from fer_edge.detectors import NONE
from fer_edge.frames import Box, Detection, Keypoints

# In pixels of the frame: keypoints that lie closer together say nothing of a face's direction.
_LEAST_SPREAD_PX = 0.5
# Around the part of the frame that a crop shows, for interpolation.
_BORDER_PX = 2


def crop_faces(
    image_bgr: NDArray[np.uint8], faces: Sequence[Detection], contract: ModelContract, detector: str
) -> NDArray[np.uint8]:
    """Crops of an image (h, w, 3) uint8, ready for `Classifier.classify`: (n, height_px, width_px) uint8 of a grey
    model, (n, height_px, width_px, 3) uint8 BGR of one that takes colour.

    `detector` names who found the faces, because the contract knows how tight its boxes are.
    """
    if not faces:
        return np.zeros((0, *contract.input.crop_shape), dtype=np.uint8)
    return np.stack([_crop_face(image_bgr, face, contract, detector) for face in faces])


def _crop_face(
    image_bgr: NDArray[np.uint8], face: Detection, contract: ModelContract, detector: str
) -> NDArray[np.uint8]:
    """One face, aligned where the contract asks for it and its keypoints allow it, else cut out by its box."""
    face_crop, spec = contract.face_crop, contract.input
    grey = spec.colour == "grey"
    if face_crop.alignment == "five-point" and face.keypoints is not None:
        crop = aligned(image_bgr, face.keypoints, face_crop.template_px(*spec.size_px), spec.size_px)
        if crop is not None:
            return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), dtype=np.uint8) if grey else crop
    return _crop(image_bgr, crop_box(face.box, face_crop, detector), spec.size_px, grey=grey)


def crop_box(box: Box, face_crop: FaceCrop, detector: str) -> Box:
    """The region taken for a detector's box: squared on the longer side, widened by the margin.

    A picture that is a face already (the detector NONE) has its own margin.
    """
    margin = 0.0 if detector == NONE else face_crop.margin_for(detector)
    width, height = box.width_px, box.height_px
    if face_crop.square:
        width = height = max(width, height)
    width *= 1 + 2 * margin
    height *= 1 + 2 * margin
    centre_x, centre_y = box.left_px + box.width_px / 2, box.top_px + box.height_px / 2
    return Box(centre_x - width / 2, centre_y - height / 2, width, height)


def _crop(image_bgr: NDArray[np.uint8], region: Box, size: tuple[int, int], *, grey: bool) -> NDArray[np.uint8]:
    """One crop of `size` (height, width), grey or BGR.

    What lies outside the frame repeats the frame's edge, so that no hard black border appears.

    A region that reaches far beyond the frame is cut off there: it costs at most nine times the frame's memory.
    """
    height, width = image_bgr.shape[:2]
    left, right = _bounded(region.left_px, region.left_px + region.width_px, width)
    top, bottom = _bounded(region.top_px, region.top_px + region.height_px, height)
    first_row, last_row = _inside(top, bottom, height)
    first_column, last_column = _inside(left, right, width)
    part = image_bgr[first_row:last_row, first_column:last_column]
    if grey:
        part = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    outside = [max(n, 0) for n in (first_row - top, bottom - last_row, first_column - left, right - last_column)]
    if any(outside):
        above, below, before, after = outside
        part = np.asarray(cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REPLICATE), dtype=np.uint8)
    return np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _inside(start: int, stop: int, limit: int) -> tuple[int, int]:
    """The part of [start, stop) that lies in [0, limit), at least one pixel of it."""
    first = min(max(start, 0), limit - 1)
    return first, min(max(stop, first + 1), limit)


def _bounded(start: float, stop: float, limit: int) -> tuple[int, int]:
    """[start, stop) in whole pixels, at least one of them, and at most `limit` beyond [0, limit) on either side."""
    first = round(min(max(start, -limit), 2 * limit - 1))
    return first, max(round(min(stop, 2 * limit)), first + 1)


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
