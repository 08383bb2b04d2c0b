"""From raw faces to the tensor a model takes: size, colour order, range and layout as its contract says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fer_edge.contract import InputSpec

Faces = NDArray[np.uint8]


def model_input(faces: Faces, spec: InputSpec) -> NDArray[Any]:
    """Raw faces, grey (n, h, w) or BGR (n, h, w, 3) uint8 of any size -> the tensor `spec` describes.

    (n, channels, height, width) or (n, height, width, channels), of the type, colour order and range that it says.
    """
    pixels = _coloured(_resized(faces, spec.size_px), spec.colour)
    values = _in_range(pixels, spec)
    return np.ascontiguousarray(np.moveaxis(values, 3, 1)) if spec.layout == "NCHW" else values


def _resized(faces: Faces, size_px: tuple[int, int]) -> Faces:
    """The faces in `size_px` (height, width), scaled as the runtime scales a crop."""
    if faces.shape[1:3] == size_px:
        return faces
    if len(faces) == 0:
        return np.zeros((0, *size_px, *faces.shape[3:]), dtype=np.uint8)
    return np.stack([resized(face, size_px) for face in faces])


def resized(face: Faces, size_px: tuple[int, int]) -> Faces:
    """One picture (h, w) or (h, w, 3) uint8 in `size_px` (height, width)."""
    return np.asarray(cv2.resize(face, size_px[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _coloured(faces: Faces, colour: str) -> Faces:
    """Faces (n, h, w) or (n, h, w, 3) BGR in the channels of `colour`, (n, h, w, 1) or (n, h, w, 3).

    A grey face given to a model of colour has three equal channels.
    """
    if faces.ndim == 3:
        return faces[..., None] if colour == "grey" else np.repeat(faces[..., None], 3, axis=3)
    if colour == "grey":
        # OpenCV's weights, as for a frame: the faces are stacked into one tall picture.
        count, height, width = faces.shape[:3]
        if count == 0:
            return np.zeros((0, height, width, 1), dtype=np.uint8)
        grey = cv2.cvtColor(faces.reshape(count * height, width, 3), cv2.COLOR_BGR2GRAY)
        return np.asarray(grey, dtype=np.uint8).reshape(count, height, width, 1)
    return faces if colour == "bgr" else faces[..., ::-1]


def _in_range(pixels: Faces, spec: InputSpec) -> NDArray[Any]:
    """Pixels (n, h, w, channels) uint8 in the type and range of `spec`."""
    if spec.mean:
        mean, std = np.array(spec.mean, dtype=np.float32), np.array(spec.std, dtype=np.float32)
        return ((pixels.astype(np.float32) - mean) / std).astype(spec.dtype)
    if spec.dtype == "int8":
        return (pixels.astype(np.int16) + spec.low).astype(np.int8)
    return np.ascontiguousarray(pixels) if spec.dtype == "uint8" else pixels.astype(spec.dtype) + spec.low
