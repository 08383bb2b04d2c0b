"""One frame through the whole chain: detect, track, crop, classify, smooth; each stage timed."""

import time
from collections.abc import Iterable

import numpy as np

from fer_edge.classifier import Classifier
from fer_edge.crop import crop_faces
from fer_edge.detectors import Detector
from fer_edge.frames import Detection, Face, Frame, FrameResult
from fer_edge.sinks import Sink
from fer_edge.smoother import ExponentialSmoother
from fer_edge.tracker import IouTracker


class Stopwatch:
    """Milliseconds between laps, by stage name; `total` is the sum of what was measured."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Note the time since the last lap under `stage`."""
        now = time.perf_counter()
        self.laps_ms[stage] = (now - self._last) * 1e3
        self._last = now

    def finished(self) -> dict[str, float]:
        """The laps with their `total`."""
        return {**self.laps_ms, "total": sum(self.laps_ms.values())}


class Pipeline:
    """Detector, tracker, classifier and smoother, with the state that belongs to one source."""

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        *,
        smoothing: float = 0.35,
        max_faces: int = 16,
    ) -> None:
        self.detector, self.classifier = detector, classifier
        self._tracker, self._smoother = IouTracker(), ExponentialSmoother(smoothing)
        self._max_faces = max_faces

    def forget(self) -> None:
        """Begin anew: the next frame has nothing to do with those before."""
        self._tracker.forget()

    def process(self, frame: Frame) -> FrameResult:
        """What is in `frame`. Its `total` leaves out capture and sinks, which are the caller's."""
        watch = Stopwatch()
        found = self.detector.detect(frame.image_bgr)
        detections = found[: self._max_faces]
        watch.lap("detect")
        track_ids = self._tracker.update(detections)
        watch.lap("track")
        boxes = [detection.box for detection in detections]
        crops = crop_faces(frame.image_bgr, boxes, self.classifier.contract, self.detector.name)
        watch.lap("crop")
        probabilities = self.classifier.classify(crops)
        watch.lap("classify")
        smooth = self._smoother.update(track_ids, probabilities, self._tracker.alive)
        faces = tuple(map(self._face, detections, track_ids, smooth))
        watch.lap("smooth")
        height, width = frame.image_bgr.shape[:2]
        return FrameResult(
            frame.index,
            frame.captured_at_s,
            frame.source,
            width,
            height,
            self.classifier.contract.labels,
            faces,
            watch.finished(),
            tuple(detection.box for detection in found[self._max_faces :]),
            self.classifier.contract.task,
        )

    def _face(self, detection: Detection, track_id: int, probabilities: np.ndarray) -> Face:
        contract = self.classifier.contract
        values = tuple(float(value) for value in probabilities)
        name = contract.task_spec.name_of(probabilities, contract.labels)
        return Face(detection.box, detection.score, track_id, name, values)


def run(
    frames: Iterable[Frame], pipeline: Pipeline, sink: Sink, max_frames: int | None = None, *, continuous: bool = True
) -> int:
    """Send every frame through `pipeline` into `sink`; the number of frames processed.

    Frames that are not `continuous` are photographs: each is judged alone.
    """
    count = 0
    for frame in frames:
        if not continuous:
            pipeline.forget()
        sink.write(frame, pipeline.process(frame))
        count += 1
        if max_frames is not None and count >= max_frames:
            break
    return count
