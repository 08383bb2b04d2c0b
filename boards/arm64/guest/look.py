"""On the emulated core: looks of detectors at one picture, each marked. Prints the number of faces of each detector.

Usage: look.py FRAMES.npz CASES; the picture is the first of the array `one`, CASES a JSON list of [detector, file,
longer side of the canvas, or null for the detector's own].
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from count import mark

from fer_edge.detectors import open_detector

_WARMUP, _MEASURED = 2, 3


def main(frames: str, cases: str) -> None:
    """Marks 0.._MEASURED enclose the measured looks of each case."""
    cv2.setNumThreads(1)
    faces = []
    with np.load(frames) as archive:
        image = archive["one"][0]
    for name, file, side_px in json.loads(cases):
        detector = open_detector(name, Path(file))
        detector.side_px = side_px or detector.side_px
        for _ in range(_WARMUP):
            detector.detect(image)
        for number in range(_MEASURED):
            mark(number)
            found = detector.detect(image)
        mark(_MEASURED)
        faces.append(len(found))
    print(json.dumps(faces))


if __name__ == "__main__":
    main(*sys.argv[1:3])
