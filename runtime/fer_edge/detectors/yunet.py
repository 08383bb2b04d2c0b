"""YuNet (Wu, Peng and Yu, 2023; libfacedetection), as published for onnxruntime or made into a .tflite for LiteRT.

A .tflite takes its canvas from the picture: `side_px` long, with the picture's aspect. It also follows a face that is
known, on a small canvas around the place where it should be, for a tenth of the work.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.canvas import Canvas
from fer_edge.detectors.yunet_network import YuNetNetwork
from fer_edge.frames import Box, Detection

# What scores less is a face hardly more often than it is not; see docs/privacy.md.
_FAINT_SCORE = 0.15
_MOST_NETWORKS = 4
# From which score on a detection is a face: at most 20 false ones in a thousand pictures without faces, by the longer
# side of the canvas (docs/measured/detectors.csv). More pixels give more chances to be wrong.
_MIN_SCORES = {224: 0.6, 320: 0.68, 416: 0.75}
# A face is followed on a cut of this many of its longer sides, drawn onto a canvas of this side. What is found there is
# the face, if it is near enough to the place where it should be (in its longer sides), and has about the same size.
_CUT_SIDES, _CUT_CANVAS = 2.0, Canvas(64, 64)
_SMALLEST_CUT_PX = 24
_FOLLOWED_SCORE, _NEAR, _SIMILAR = 0.5, 0.7, 0.5
# What a cut costs, in cuts' areas of a canvas: measured as instructions on Arm (boards/instructions.csv).
_COST_OF_CUT = 1.8


class YuNetDetector:
    """Small and fast; finds smaller faces than MediaPipe's. See `Detector`."""

    name = "yunet"

    def __init__(self, path: Path, min_score: float | None, threads: int) -> None:
        self._min_score = min_score
        self._path, self._threads = path, threads
        self._is_made = path.suffix == ".tflite"
        first = YuNetNetwork(path, threads)
        self._networks = {first.canvas: first}
        self.side_px = max(first.canvas.width_px, first.canvas.height_px)

    @property
    def min_score(self) -> float:
        """Lowest score of a face: as given, or for the canvas in use."""
        if self._min_score is not None:
            return self._min_score
        return float(np.interp(self.side_px, list(_MIN_SCORES), list(_MIN_SCORES.values())))

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """See `Detector.detect`."""
        lowest = min(self.min_score, _FAINT_SCORE) if faint else self.min_score
        return self._network_for(image_bgr).detect(image_bgr, lowest)

    @property
    def follows_at_most(self) -> int:
        """With more faces than this, the whole picture is cheaper; 0 where it follows none."""
        if not self._is_made:
            return 0
        whole = Canvas.fitting(4, 3, self.side_px)
        return int(whole.width_px * whole.height_px / (_COST_OF_CUT * _CUT_CANVAS.width_px * _CUT_CANVAS.height_px))

    def follow(self, image_bgr: NDArray[np.uint8], expected: Box) -> Detection | None:
        """See `FollowingDetector.follow`."""
        side = max(expected.width_px, expected.height_px)
        left, top, right, bottom = _cut(expected, max(side * _CUT_SIDES, _SMALLEST_CUT_PX), image_bgr.shape)
        if min(right - left, bottom - top) < _SMALLEST_CUT_PX / 3:
            return None
        found = self._network(_CUT_CANVAS).detect(image_bgr[top:bottom, left:right], _FOLLOWED_SCORE)
        near = [
            (distance, moved)
            for moved in (_moved(one, left, top) for one in found)
            if (distance := _distance(moved.box, expected) / side) < _NEAR
            and _SIMILAR <= max(moved.box.width_px, moved.box.height_px) / side <= 1 / _SIMILAR
        ]
        return min(near, key=lambda one: one[0])[1] if near else None

    def _network_for(self, image_bgr: NDArray[np.uint8]) -> YuNetNetwork:
        if not self._is_made:
            return next(iter(self._networks.values()))
        height, width = image_bgr.shape[:2]
        return self._network(Canvas.fitting(width, height, self.side_px))

    def _network(self, canvas: Canvas) -> YuNetNetwork:
        """The network on that canvas; those asked for last are kept."""
        network = self._networks.pop(canvas, None) or YuNetNetwork(self._path, self._threads, canvas, tried=True)
        self._networks[canvas] = network
        while len(self._networks) > _MOST_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return network


def _cut(box: Box, side_px: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square around a box, as far as it lies in a picture of `shape`."""
    x, y = box.left_px + box.width_px / 2, box.top_px + box.height_px / 2
    edges = (x - side_px / 2, y - side_px / 2, x + side_px / 2, y + side_px / 2)
    limits = (shape[1], shape[0]) * 2
    left, top, right, bottom = (min(max(round(edge), 0), limit) for edge, limit in zip(edges, limits, strict=True))
    return left, top, right, bottom


def _moved(found: Detection, right_px: int, down_px: int) -> Detection:
    box = found.box
    keypoints = found.keypoints.mapped(1.0, right_px, down_px) if found.keypoints else None
    return Detection(
        Box(box.left_px + right_px, box.top_px + down_px, box.width_px, box.height_px), found.score, keypoints
    )


def _distance(first: Box, second: Box) -> float:
    """Between centres, along the axis where it is greater."""
    across = first.left_px + first.width_px / 2 - second.left_px - second.width_px / 2
    along = first.top_px + first.height_px / 2 - second.top_px - second.height_px / 2
    return max(abs(across), abs(along))
