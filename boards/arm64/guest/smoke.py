"""On the emulated core: count and run every model, then one photograph through the whole runtime. Prints JSON.

Usage: smoke.py PHOTO CLASSIFIER FACES.npz MODEL...; after count.py's line for each model comes one object with the
logits of every model and the faces of the photograph.
"""

import json
import sys
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
from count import main as count

from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.frames import Frame
from fer_edge.pipeline import Pipeline


def logits_of(models: list[str], faces: np.ndarray) -> list[list[list[float]]]:
    """Logits of grey faces (n, h, w) uint8, for each model."""
    return [Classifier(Path(model)).logits(faces).astype(float).tolist() for model in models]


def faces_in(photo: str, classifier: str) -> list[dict[str, object]]:
    """Box, label and probabilities of every face the runtime finds."""
    pipeline = Pipeline(open_detector("mediapipe"), Classifier(Path(classifier)))
    result = pipeline.process(Frame(cv2.imread(photo), 0, 0.0, Path(photo).name))
    return [{"box_px": astuple(face.box_px), "label": face.expression, "score": face.score} for face in result.faces]


def main(photo: str, classifier: str, faces: str, models: list[str]) -> None:
    """Everything the workstation compares with its own."""
    count(models)
    with np.load(faces) as archive:
        logits = logits_of(models, archive["faces"])
    print(json.dumps({"logits": logits, "faces": faces_in(photo, classifier)}))


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
