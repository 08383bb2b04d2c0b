"""Pictures as cameras lay them out in memory, made BGR. Formats have libcamera's names (libcamera/formats.yaml)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import SourceError
from fer_edge.picture_file import decode_image
from fer_edge.picture_header import DEFAULT_LIMIT, PictureLimit

# libcamera names a format by the order in a little-endian word: its RGB888 lies in memory as B, G, R, which is what
# OpenCV means by BGR.
_PACKED = {
    "RGB888": (3, None),
    "BGR888": (3, cv2.COLOR_RGB2BGR),
    "XRGB8888": (4, cv2.COLOR_BGRA2BGR),
    "ARGB8888": (4, cv2.COLOR_BGRA2BGR),
    "XBGR8888": (4, cv2.COLOR_RGBA2BGR),
    "ABGR8888": (4, cv2.COLOR_RGBA2BGR),
    "RGB161616": (6, None),
    "BGR161616": (6, cv2.COLOR_RGB2BGR),
    "R8": (1, cv2.COLOR_GRAY2BGR),
}
_YUV_422 = {
    "YUYV": cv2.COLOR_YUV2BGR_YUY2,
    "YVYU": cv2.COLOR_YUV2BGR_YVYU,
    "UYVY": cv2.COLOR_YUV2BGR_UYVY,
}
_YUV_420 = {
    "YUV420": cv2.COLOR_YUV2BGR_I420,
    "YVU420": cv2.COLOR_YUV2BGR_YV12,
    "NV12": cv2.COLOR_YUV2BGR_NV12,
    "NV21": cv2.COLOR_YUV2BGR_NV21,
}
_MJPEG = "MJPEG"
FORMATS = (*_PACKED, *_YUV_422, *_YUV_420, _MJPEG)


@dataclass(frozen=True)
class Layout:
    """How a picture lies in memory: libcamera's name of the format, and rows of `stride_bytes`, padding included.

    The rows of half-width chroma planes take half the stride. A format that is compressed has no stride.
    """

    format: str
    width_px: int
    height_px: int
    stride_bytes: int = 0

    def check(self, name: str) -> None:
        """Raise SourceError, which begins with `name`, for a format nobody here converts."""
        if self.format not in FORMATS:
            raise SourceError(
                f"{name}: the camera gives {self.format}, which cannot be converted; expected one of "
                f"{', '.join(FORMATS)}. Is it a raw stream?"
            )


def bgr_of(
    buffer: NDArray[np.uint8], layout: Layout, name: str, limit: PictureLimit = DEFAULT_LIMIT
) -> NDArray[np.uint8]:
    """The picture (h, w, 3) uint8 BGR in `buffer` (n,) uint8, which may be longer than the picture.

    Raises SourceError, which begins with `name`, where the buffer is shorter, or its JPEG damaged or beyond `limit`.
    """
    if layout.format == _MJPEG:
        return decode_image(buffer.tobytes(), name, limit=limit)
    if layout.format in _PACKED:
        return _packed(buffer, layout, name)
    if layout.format in _YUV_422:
        # Two pixels share four bytes.
        rows = _rows(buffer, layout, layout.height_px, name).reshape(layout.height_px, -1, 2)
        return _cropped(cv2.cvtColor(rows, _YUV_422[layout.format]), layout)
    # The chroma has a quarter of the pixels, twice.
    rows = _rows(buffer, layout, layout.height_px * 3 // 2, name)
    return _cropped(cv2.cvtColor(rows, _YUV_420[layout.format]), layout)


def _packed(buffer: NDArray[np.uint8], layout: Layout, name: str) -> NDArray[np.uint8]:
    pixel_bytes, conversion = _PACKED[layout.format]
    rows = _rows(buffer, layout, layout.height_px, name)[:, : layout.width_px * pixel_bytes]
    if pixel_bytes == 6:
        rows = rows[:, 1::2]  # the upper halves of little-endian 16 bits
        pixel_bytes = 3
    picture = np.ascontiguousarray(rows).reshape(layout.height_px, layout.width_px, pixel_bytes)
    if conversion is None:
        return picture
    return np.asarray(cv2.cvtColor(picture, conversion), dtype=np.uint8)


def _rows(buffer: NDArray[np.uint8], layout: Layout, count: int, name: str) -> NDArray[np.uint8]:
    size = count * layout.stride_bytes
    if size == 0 or len(buffer) < size:
        raise SourceError(
            f"{name}: a picture of {len(buffer)} bytes, expected {size} for {layout.format} of {layout.width_px}x"
            f"{layout.height_px} in rows of {layout.stride_bytes} bytes."
        )
    return buffer[:size].reshape(count, layout.stride_bytes)


def _cropped(picture: NDArray[Any], layout: Layout) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[: layout.height_px, : layout.width_px], dtype=np.uint8)
