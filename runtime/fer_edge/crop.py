"""Cut faces out of a frame exactly as the model's contract says."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.alignment import aligned
from fer_edge.contract import FaceCrop, ModelContract
from fer_edge.detectors import NONE
from fer_edge.frames import Box, Detection


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
