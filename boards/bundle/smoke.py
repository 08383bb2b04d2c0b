"""On the board, before a release is used: does the model say what it said on the workstation, does the detector run?

Usage: smoke.py RELEASE MODEL DETECTOR DETECTOR_FILE; the exit code is 0 or 1, with one line that says why.
"""

import sys
from pathlib import Path

import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.errors import FerEdgeError
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline

_TOLERANCE = 0.25  # in logits: integer kernels differ by a step or two between processors, half floats by less


def main(release: Path, model: str, detector: str, detector_file: str) -> str | None:
    """Describe what is wrong, None when nothing is."""
    classifier = Classifier(release / model)
    with np.load(release / "smoke.npz") as golden:
        faces, expected = golden["faces"], golden["logits"]
    difference = float(np.abs(classifier.logits(faces) - expected).max())
    if not difference <= _TOLERANCE:
        return f"{model}: logits differ by {difference:.3f} from the workstation's, expected {_TOLERANCE} at most"
    pipeline = Pipeline(open_detector(detector, release / detector_file), classifier)
    grey = np.full((480, 640, 3), 128, np.uint8)
    found = pipeline.process(Frame(grey, 0, 0.0, "smoke")).faces
    if found:
        return f"{detector}: {len(found)} faces in an empty picture"
    print(f"smoke run: logits within {difference:.4f} of the workstation's, detector runs")
    return None


if __name__ == "__main__":
    try:
        problem = main(Path(sys.argv[1]), *sys.argv[2:5])
    except FerEdgeError as error:
        problem = str(error)
    sys.exit(f"smoke run: {problem}" if problem else 0)
