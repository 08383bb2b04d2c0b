"""YuNet (Wu, Peng and Yu, 2023; libfacedetection), as published for onnxruntime or made into a .tflite for LiteRT.

A .tflite takes its canvas from the picture: `side_px` long, with the picture's aspect. It also follows a face that is
known, on a small canvas around the place where it should be, for a tenth of the work.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.detectors.canvas import Canvas
from fer_edge.detectors.yunet_network import YuNetNetwork
from fer_edge.frames import Detection

# What scores less is a face hardly more often than it is not; see docs/privacy.md.
_FAINT_SCORE = 0.15
_MOST_NETWORKS = 4
# From which score on a detection is a face: at most 20 false ones in a thousand pictures without faces, by the longer
# side of the canvas (docs/measured/detectors.csv). More pixels give more chances to be wrong.
_MIN_SCORES = {224: 0.6, 320: 0.67, 416: 0.73}


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
        """What scores less is no face: as given, or for the canvas in use."""
        if self._min_score is not None:
            return self._min_score
        return float(np.interp(self.side_px, list(_MIN_SCORES), list(_MIN_SCORES.values())))

    def detect(self, image_bgr: NDArray[np.uint8], *, faint: bool = False) -> list[Detection]:
        """See `Detector.detect`."""
        lowest = min(self.min_score, _FAINT_SCORE) if faint else self.min_score
        return self._network_for(image_bgr).detect(image_bgr, lowest)

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
