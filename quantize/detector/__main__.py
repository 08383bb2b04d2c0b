"""`python -m quantize.detector`: the published YuNet as .tflite, float and INT8, for canvases of any size."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2

from fer_edge.detectors import DETECTOR_FILES, checked_file, open_detector
from fer_edge.errors import DataError, UsageError, run_reporting

from quantize.detector.make import make_detector
from quantize.detector.scenes import portraits

_MEDIA = [Path("media/astronaut.png"), Path("media/WolfgangLanger_Pexels.mp4")]
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov")
# Neighbouring frames of a video show the same face in the same light.
_EACH_NTH_FRAME = 40


def main(arguments: list[str] | None = None) -> int:
    """Make the files of every canvas asked for; the exit code."""
    options = _parser().parse_args(arguments)
    return run_reporting("quantize.detector", lambda: _make(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quantize.detector", description=__doc__)
    parser.add_argument("canvases", nargs="+", type=_canvas, metavar="WIDTHxHEIGHT", help="as 160x128; multiples of 32")
    parser.add_argument("--source", type=Path, metavar="FILE", help="published .onnx (default: the fetched one)")
    parser.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        default=_MEDIA,
        metavar="PATH",
        help="photographs and videos, or folders of them, to calibrate on: those with one face are used",
    )
    parser.add_argument("--out", type=Path, default=Path("artifacts/detectors"), metavar="FOLDER")
    return parser


def _canvas(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(sides) < 32 or any(side % 32 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r}: expected WIDTHxHEIGHT in multiples of 32, as 160x128")
    return sides


def _make(options: argparse.Namespace) -> None:
    source = checked_file(DETECTOR_FILES["yunet"], options.source)
    if source.suffix != ".onnx":
        raise UsageError(f"--source {source}: expected the published .onnx.")
    pictures = portraits(_images(options.pictures), open_detector("yunet", source))
    print(f"{len(pictures)} pictures with one face")
    for width_px, height_px in options.canvases:
        made = make_detector(source, pictures, width_px, height_px, options.out)
        print(made.int8_file)
        for row in made.recall:
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


if __name__ == "__main__":
    sys.exit(main())
