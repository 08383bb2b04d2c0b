"""The Python API: expressions in a picture that is at hand, or in everything a camera, stream or file gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import ModelContract
from fer_edge.drawing import blur_faces, draw
from fer_edge.frames import Face, Frame, FrameResult
from fer_edge.looking_range import FAR, range_of
from fer_edge.pipeline import Pipeline
from fer_edge.program.parts import make_pipeline, make_source
from fer_edge.program.service import Supervisor
from fer_edge.settings import DetectionSettings, ModelSettings, Settings, SourceSettings


class Recognizer:
    """Finds faces and names their expressions; `fer-edge` itself runs the same code.

    `model` is a .tflite or .onnx file with a contract, by default the one inside the package; `detector` a name that
    `fer-edge models` lists; `threads` those of each engine. All as the flags of the same names say. Loading takes a
    fraction of a second, so keep the object. One thread at a time may use it.

    Raises ModelError for a model or detector that is refused, UsageError for a setting that is.
    """

    def __init__(self, *, model: str | Path | None = None, detector: str | None = None, threads: int = 1) -> None:
        chosen_model = ModelSettings() if model is None else ModelSettings(file=Path(model))
        chosen_detector = DetectionSettings() if detector is None else DetectionSettings(detector=detector)
        self._settings = Settings(model=dataclasses.replace(chosen_model, threads=threads), detection=chosen_detector)
        self._pipeline = make_pipeline(self._settings)

    @property
    def contract(self) -> ModelContract:
        """Contract of the model: labels, task, input, licence."""
        return self._pipeline.classifier.contract

    def __call__(self, image_bgr: NDArray[np.uint8]) -> tuple[Face, ...]:
        """The faces in one picture (h, w, 3) uint8 in OpenCV's order of colours, best detection first.

        Every picture is judged alone: nothing is smoothed, and track ids say nothing. Raises ValueError for an array
        that is no such picture.
        """
        _require_picture(image_bgr)
        return self._pipeline.process(Frame(image_bgr, 0, 0.0, "picture"), alone=True).faces

    def stream(self, source: str | int | Path | Sequence[str | Path]) -> Iterator[FrameResult]:
        """The results of a source, frame by frame, with faces tracked and labels smoothed.

        `source` is whatever `fer-edge` reads: a camera number, a picture or several, a folder, a video, the address of
        a stream. A camera that goes away is waited for, as the program does. Close the iterator to close the source.

        Raises SourceError when there is nothing to read or a live source is lost for good.
        """
        for _, result in self.frames(source):
            yield result

    def frames(self, source: str | int | Path | Sequence[str | Path]) -> Iterator[tuple[Frame, FrameResult]]:
        """`stream`, with each result's frame: `frame.image_bgr` is the picture (h, w, 3) uint8."""
        settings = dataclasses.replace(self._settings, source=_source_settings(source))
        # State of its own, so that a picture may be looked at while a stream runs.
        pipeline = Pipeline(
            self._pipeline.detector,
            self._pipeline.classifier,
            smoothing=settings.model.smoothing,
            hysteresis=settings.model.hysteresis,
            looks=range_of(FAR),
        )
        with make_source(settings, Supervisor(environ={})) as opened:
            for frame in opened:
                yield frame, pipeline.process(frame, alone=not opened.continuous)


def annotate(
    image_bgr: NDArray[np.uint8], result: FrameResult | Sequence[Face], *, hide_faces: bool = False
) -> NDArray[np.uint8]:
    """A copy of the picture (h, w, 3) uint8 with boxes, expressions and confidences drawn in.

    `result` is what `Recognizer` gave for it: the faces of a picture, or a frame's result. With `hide_faces` these
    faces are a handful of blocks each. A frame's result also has faces of a moment ago hidden, what only may be a face,
    and all of the picture where nothing is known of it, as at the start of a stream; see docs/privacy.md. Raises
    ValueError for an array that is no such picture.
    """
    _require_picture(image_bgr)
    if not isinstance(result, FrameResult):
        result = _result_of(image_bgr, tuple(result))
    return draw(blur_faces(image_bgr, result) if hide_faces else image_bgr, result)


def load_contract(path: str | Path) -> ModelContract:
    """The contract inside a .tflite or .onnx file. Raises ModelError for a file that has none or cannot be run."""
    from fer_edge.classifier import Classifier

    return Classifier(Path(path)).contract


def _result_of(image_bgr: NDArray[np.uint8], faces: tuple[Face, ...]) -> FrameResult:
    height, width = image_bgr.shape[:2]
    labels, task = (faces[0].labels, faces[0].task) if faces else ((), "expression7")
    return FrameResult(0, 0.0, "picture", width, height, labels, faces, task=task)


def _require_picture(image: NDArray[np.uint8]) -> None:
    """Raise ValueError, as for a path or a grey or float array, which would be misread."""
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"expected a picture as an array (height, width, 3) uint8, found {type(image).__name__}; "
            "read a file with cv2.imread, or use Recognizer.stream(file)."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"expected a picture (height, width, 3) uint8 in BGR order, found {image.shape} {image.dtype}; "
            "convert it with cv2.cvtColor."
        )


def _source_settings(source: str | int | Path | Sequence[str | Path]) -> SourceSettings:
    """As the words of a command line; a program that asks for results wants them as fast as they come."""
    if isinstance(source, int):
        return SourceSettings(camera=source, as_fast_as_possible=True)
    if isinstance(source, str | Path):
        return SourceSettings(address=str(source), as_fast_as_possible=True)
    return SourceSettings(pictures=tuple(map(str, source)), as_fast_as_possible=True)
