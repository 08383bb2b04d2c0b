"""One frame through the whole chain: detect, track, crop, classify, smooth; each stage timed."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_edge.classifier import Classifier
from fer_edge.crop import crop_faces
from fer_edge.detectors import Detector
from fer_edge.edges import EdgeWatch, Turns
from fer_edge.finder import FaceFinder, Look, rescaled
from fer_edge.frames import Box, Detection, Face, Frame, FrameResult
from fer_edge.hiding import HiddenAreas
from fer_edge.looking_range import LookingRange
from fer_edge.motion import CutDetector
from fer_edge.regions import Region, in_regions
from fer_edge.schedule import DetectionSchedule
from fer_edge.smoother import DEFAULT_HYSTERESIS, DEFAULT_SMOOTHING, HysteresisSmoother
from fer_edge.tasks import CLASSES
from fer_edge.tracker import IouTracker

# The largest box that is classified, in longer sides of the picture.
_LARGEST = 2.0


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
    """Detector, tracker, classifier and smoother, with the state that belongs to one source.

    `detect_when` is the number of frames from one detection to the next, or ON_MOTION; between, faces are tracked.
    Faces smaller than `min_face_px`, or with their centre outside `regions`, are found but not classified.
    `looks` says on how large a canvas a detector looks that can choose.
    `watch_edges` looks for faces that come in at the picture's edges, to hide them: more work where something moves.
    """

    def __init__(
        self,
        detector: Detector,
        classifier: Classifier,
        *,
        smoothing: float = DEFAULT_SMOOTHING,
        hysteresis: float = DEFAULT_HYSTERESIS,
        detect_when: int = 1,
        max_faces: int = 16,
        min_face_px: int = 0,
        regions: Sequence[Region] = (),
        watch_edges: bool = False,
        looks: LookingRange | None = None,
    ) -> None:
        self.detector, self.classifier = detector, classifier
        self.finder = FaceFinder(detector, DetectionSchedule(detect_when, regions), looks)
        self._tracker, self._smoother = IouTracker(), HysteresisSmoother(smoothing, hysteresis)
        self.turns = Turns()
        self.watch_edges = watch_edges
        self._areas, self._cuts, self._edges = HiddenAreas(), CutDetector(), EdgeWatch(detector)
        self._max_faces, self._min_face_px, self._regions = max_faces, min_face_px, regions
        self._unnamed: tuple[Box, ...] = ()
        self._shape: tuple[int, ...] = ()

    @property
    def detector_failures(self) -> int:
        """Frames that the detector failed on."""
        return self.finder.failures

    def forget(self) -> None:
        """Reset: the next frame has nothing to do with those before."""
        self._tracker.forget()
        self._areas.forget()
        self._cuts.forget()
        self._edges.forget()
        self.finder.forget()
        self._unnamed = ()

    def process(self, frame: Frame, *, alone: bool = False) -> FrameResult:
        """Process `frame`; `alone` says that it is a photograph, which has nothing to do with those before.

        Its `total` leaves out capture and sinks, which are the caller's. Raises ModelError when the detector fails on
        one frame after the other.
        """
        if alone or frame.image_bgr.shape != self._shape:
            # Boxes of another size of picture mean nothing in this one.
            self.forget()
            self._shape = frame.image_bgr.shape
        watch = Stopwatch()
        look = self.finder.look(frame, self._tracker)
        watch.lap("detect")
        found = look.found
        hidden = self._hidden(frame, found, alone=alone)
        detections, track_ids = self._track(look)
        watch.lap("track")
        turn = self.turns.of(track_ids, self._tracker.alive)
        looked_at = [detections[place] for place in turn]
        crops = crop_faces(frame.image_bgr, looked_at, self.classifier.contract, self.detector.name)
        watch.lap("crop")
        rows = self.classifier.classify_each(crops)
        watch.lap("classify")
        self.turns.took(len(turn), watch.laps_ms["classify"] / 1e3)
        faces, unclassified = self._named(detections, track_ids, dict(zip(turn, rows, strict=True)))
        watch.lap("smooth")
        unnamed = self._unnamed + unclassified
        return self._result(frame, faces, unnamed, hidden, watch.finished(), detected=found is not None)

    def _hidden(self, frame: Frame, found: list[Detection] | None, *, alone: bool) -> tuple[Box, ...] | None:
        """Where faces may be; None where nothing is known of the frame."""
        if found is None:
            return None
        try:
            coming_in = self._coming_in(frame, found) if self.watch_edges else []
        except Exception as error:  # as above
            self.finder.note_failure(error)
            return None
        cut = self._cuts.is_cut(frame.for_detection)
        return self._areas.update([*found, *coming_in], frame.captured_at_s, cut=cut, alone=alone)

    def _coming_in(self, frame: Frame, found: list[Detection]) -> list[Detection]:
        """Find possible faces at the edges of the frame, beside those found."""
        image = frame.for_detection
        scale = image.shape[1] / frame.image_bgr.shape[1]
        return rescaled(self._edges.look(image, frame.captured_at_s, rescaled(found, scale)), 1 / scale)

    def _track(self, look: Look) -> tuple[list[Detection], list[int]]:
        """The faces to classify, with their track ids."""
        if look.again is not None:
            return self._confirmed(look.again)
        if look.found is None:
            if self.finder.schedule.still:
                self._tracker.hold()
            return self._tracker.predict()
        named = [detection for detection in look.sure if self._wanted(detection.box)][: self._max_faces]
        self._unnamed = tuple(detection.box for detection in look.sure if detection not in named)
        return named, self._tracker.update(named)

    def _confirmed(self, again: dict[int, Detection]) -> tuple[list[Detection], list[int]]:
        """Faces that were followed, but for those that left the regions."""
        self._tracker.confirm(again)
        named = {track_id: one for track_id, one in again.items() if self._wanted(one.box)}
        return list(named.values()), list(named)

    def _wanted(self, box: Box) -> bool:
        height, width = self._shape[:2]
        # What is far larger than the picture is no face, but a detector gone wrong.
        sensible = self._min_face_px <= max(box.width_px, box.height_px) <= _LARGEST * max(width, height)
        return sensible and in_regions(box, self._regions, width, height)

    def _named(
        self, detections: list[Detection], track_ids: list[int], rows: dict[int, NDArray[np.float32] | None]
    ) -> tuple[tuple[Face, ...], tuple[Box, ...]]:
        """The faces, and the boxes of those without a name. `rows` are the outputs by position among the faces.

        A face whose turn it is not keeps the name it had. One without a usable output has none; the smoother goes on
        where it was once the next one of its track comes.
        """
        usable = {place: row for place, row in rows.items() if row is not None}
        numbers = np.stack(list(usable.values())) if usable else np.zeros((0, 0), np.float32)
        averages, labels = self._smoother.update([track_ids[n] for n in usable], numbers, self._tracker.alive)
        named = dict(zip(usable, zip(averages, labels, strict=True), strict=True))
        faces, unnamed = [], []
        for place, (detection, track_id) in enumerate(zip(detections, track_ids, strict=True)):
            said = named.get(place) if place in rows else self._smoother.recall(track_id)
            if said is None:
                unnamed.append(detection.box)
            else:
                faces.append(self._face(detection, track_id, *said))
        return tuple(faces), tuple(unnamed)

    def _face(self, detection: Detection, track_id: int, probabilities: NDArray[np.float32], label: int) -> Face:
        contract = self.classifier.contract
        values = tuple(float(value) for value in probabilities)
        if contract.task_spec.kind == CLASSES:
            name, confidence = contract.labels[label], values[label]
        else:  # no class that could stay: the numbers themselves are the prediction
            name = contract.task_spec.name_of(values, contract.labels)
            confidence = max(abs(value) for value in values)
        return Face(detection.box, detection.score, track_id, name, confidence, values, contract.labels, contract.task)

    def _result(
        self,
        frame: Frame,
        faces: tuple[Face, ...],
        unnamed: tuple[Box, ...],
        hidden: tuple[Box, ...] | None,
        stage_ms: dict[str, float],
        *,
        detected: bool,
    ) -> FrameResult:
        height, width = frame.image_bgr.shape[:2]
        contract = self.classifier.contract
        return FrameResult(
            frame.index,
            frame.captured_at_s,
            frame.source,
            width,
            height,
            contract.labels,
            faces,
            stage_ms,
            unnamed,
            detected,
            frame.read_at_s,
            frame.unix_time_s,
            contract.task,
            hidden,
        )
