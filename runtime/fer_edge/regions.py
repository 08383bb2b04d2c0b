"""Regions of interest: where in the picture faces count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fer_edge.frames import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """A polygon; `corners` are (x, y) in fractions of the picture's width and height, so it fits every size."""

    corners: tuple[tuple[float, float], ...]

    def holds(self, x: float, y: float) -> bool:
        """Does the point, in fractions of the picture, lie inside or on the edge?"""
        # Settings are made of regions, and the command line must not load OpenCV to print its help.
        import cv2
        import numpy as np

        polygon = np.asarray(self.corners, dtype=np.float32)
        return cv2.pointPolygonTest(polygon, (float(x), float(y)), measureDist=False) >= 0


def in_regions(box: Box, regions: Sequence[Region], width_px: int, height_px: int) -> bool:
    """Does the box's centre lie in one of `regions`? Without regions the whole picture counts."""
    if not regions:
        return True
    x = (box.left_px + box.width_px / 2) / width_px
    y = (box.top_px + box.height_px / 2) / height_px
    return any(region.holds(x, y) for region in regions)


def region_mask(regions: Iterable[Region], width_px: int, height_px: int) -> NDArray[np.bool_]:
    """True (height, width) where a region is; true everywhere without regions."""
    import cv2
    import numpy as np

    polygons = [np.asarray(region.corners) * (width_px, height_px) for region in regions]
    mask = np.zeros((height_px, width_px), dtype=np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1)
    return mask.astype(np.bool_) if polygons else np.ones_like(mask, dtype=np.bool_)
