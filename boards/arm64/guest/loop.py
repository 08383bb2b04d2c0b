"""On the emulated core: frames through the whole loop, with a mark before each frame and behind each of its stages.

Usage: loop.py CLASSIFIER DETECTOR FRAMES.npz CASES; CASES is a JSON list of [array name, frames between looks, range,
frames to warm up]. Prints a JSON list with the numbers of faces found in each frame, for each case.
"""

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from count import mark

from fer_edge import pipeline as pipeline_module
from fer_edge.classifier import Classifier
from fer_edge.detectors import open_detector
from fer_edge.frames import Frame
from fer_edge.looking_range import range_of
from fer_edge.pipeline import Pipeline, Stopwatch
from fer_edge.sinks.jsonl import JsonlSink

STAGES = ("detect", "track", "crop", "classify", "smooth")


class MarkingStopwatch(Stopwatch):
    """Marks the start of a frame with 0 and the end of each stage with its number, once there is `measuring`."""

    measuring = False

    def __init__(self) -> None:
        super().__init__()
        if self.measuring:
            mark(0)

    def lap(self, stage: str) -> None:
        """See `Stopwatch.lap`."""
        super().lap(stage)
        if self.measuring:
            mark(1 + STAGES.index(stage))


def run_case(pipeline: Pipeline, sink: JsonlSink, images: np.ndarray, warmup: int) -> list[int]:
    """Faces in each frame behind the warm-up; the last mark of a frame stands behind the sink."""
    MarkingStopwatch.measuring = False
    counts = []
    for index, image in enumerate(images):
        MarkingStopwatch.measuring = index >= warmup
        frame = Frame(image, index, index / 25, "loop")
        result = pipeline.process(frame)
        sink.write(frame, result)
        if index >= warmup:
            mark(1 + len(STAGES))
            counts.append(len(result.faces))
    return counts


def main(classifier: str, detector: str, frames: str, cases: str) -> None:
    """Marks 0 to 6 for every measured frame of every case."""
    cv2.setNumThreads(1)
    pipeline_module.Stopwatch = MarkingStopwatch  # type: ignore[misc]
    model, found = Classifier(Path(classifier)), []
    with np.load(frames) as archive, tempfile.TemporaryDirectory() as folder:
        for number, (name, every, looks, warmup) in enumerate(json.loads(cases)):
            opened = open_detector("auto", Path(detector))
            pipeline = Pipeline(opened, model, detect_when=every, looks=range_of(looks))
            with JsonlSink(Path(folder) / f"{number}.jsonl") as sink:
                found.append(run_case(pipeline, sink, archive[name], warmup))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:5])
