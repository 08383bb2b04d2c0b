"""The job of `fer-edge-lab make-detector`: find the published file, read pictures to calibrate on, make, report."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2

from fer_edge.detectors import DATA, DETECTOR_FILES, checked_file, open_detector
from fer_edge.errors import DataError, UsageError
from fer_edge.fetch import fetch_detector

from quantize.detector.make import make_detector, make_for_runtime
from quantize.detector.scenes import BucketRecall, portraits

_YUNET = DETECTOR_FILES["yunet"]
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov")
# Neighbouring frames of a video show the same face in the same light.
_EACH_NTH_FRAME = 40


def make(options: argparse.Namespace) -> None:
    """Make the files of every canvas asked for, or the one of the runtime."""
    source = _source(options)
    if source is None:
        return
    if source.suffix != ".onnx":
        raise UsageError(f"--source {source}: expected the published .onnx.")
    pictures = portraits(_images(options.pictures), open_detector("yunet", source))
    print(f"{len(pictures)} pictures with one face")
    if not options.canvases:
        file = DATA / str(_YUNET.made_filename)
        for canvas, recall in make_for_runtime(source, pictures, file).items():
            _print_recall(f"canvas {canvas.width_px}x{canvas.height_px}", recall)
        print(f"{file}: the detector of fer-edge from now on")
    for width_px, height_px in options.canvases:
        made = make_detector(source, pictures, width_px, height_px, options.out)
        _print_recall(str(made.int8_file), made.recall)


def _source(options: argparse.Namespace) -> Path | None:
    """The published file: --source, or fetched. None where it cannot be had and need not be."""
    if options.source is not None:
        return checked_file(_YUNET, options.source)
    try:
        return fetch_detector(_YUNET.name)
    except UsageError as error:
        if not options.or_mediapipe:
            raise
        print(f"the face detector is MediaPipe's, which finds fewer faces for more work: {error}")
        return None


def _print_recall(title: str, recall: Iterable[BucketRecall]) -> None:
    print(title)
    for row in recall:
        print(f"  {row.low_px:>3} px and more: {row.faces} faces, float {row.found_float}, INT8 {row.found_int8}")


def _images(paths: Sequence[Path]) -> Iterator[Any]:
    """Every picture of the files and folders; of videos each 40th frame. Raises DataError for what cannot be read."""
    for path in paths:
        if path.is_dir():
            yield from _images(sorted(one for one in path.iterdir() if one.is_file()))
        elif path.suffix.lower() in _VIDEOS:
            yield from _frames(path)
        else:
            image = cv2.imread(str(path))
            if image is None:
                raise DataError(f"--pictures {path}: not a picture OpenCV can read, or not there. Name photographs.")
            yield image


def _frames(path: Path) -> Iterator[Any]:
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise DataError(f"--pictures {path}: not a video OpenCV can read, or not there. Name photographs or videos.")
    for index in count():
        if not video.grab():
            return
        if index % _EACH_NTH_FRAME == 0:
            yield video.retrieve()[1]
