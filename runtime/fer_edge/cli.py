"""The `fer-edge` command: run (the default), bench, models."""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge import __version__
from fer_edge.arguments import camera_index, fraction, positive
from fer_edge.detectors import DETECTOR_FILES, open_detector
from fer_edge.errors import UsageError, run_reporting
from fer_edge.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from fer_edge.pipeline import Pipeline
    from fer_edge.sinks import Sink
    from fer_edge.sources import Source

_COMMANDS = {
    "run": "read a camera, stream or file and name the expressions in it (the default)",
    "bench": "measure the latency of every stage on this machine",
    "models": "list classifiers and detectors; --fetch brings a detector",
}


def entry_point() -> None:
    """Console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    logging.basicConfig(level=logging.WARNING, format="fer-edge: %(message)s")
    words = list(arguments)
    command = words.pop(0) if words and words[0] in _COMMANDS else "run"
    job = {"run": _run, "bench": _bench, "models": _models}[command]
    return run_reporting("fer-edge", lambda: job(words))


def _run(words: list[str]) -> None:
    options = _run_parser().parse_args(words)
    from fer_edge.pipeline import run
    from fer_edge.sinks import SinkSet
    from fer_edge.sources import open_source

    _refuse_overwriting(options)
    pipeline = _pipeline(options)
    # systemd and `kill` ask with SIGTERM: leave by the same door as Ctrl-C, so that every sink is closed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = open_source(str(options.camera) if options.camera is not None else options.source)
    labels = pipeline.classifier.contract.labels
    with (
        chosen as source,
        SinkSet(_sinks(options, source, labels)) as sinks,
        contextlib.suppress(KeyboardInterrupt),
    ):
        run(source, pipeline, sinks, options.max_frames, continuous=source.continuous)
    if sinks.failed:
        raise UsageError(f"results are incomplete: {', '.join(sinks.failed)} failed on the way.")


def _bench(words: list[str]) -> None:
    from fer_edge.bench.command import run_bench

    run_bench(words, _COMMANDS["bench"])


def _models(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="fer-edge models", description=_COMMANDS["models"])
    parser.add_argument("--fetch", choices=sorted(DETECTOR_FILES), help="bring this detector's file and check it")
    options = parser.parse_args(words)
    if options.fetch:
        from fer_edge.fetch import fetch_detector

        print(f"{fetch_detector(options.fetch)}: ready")
        return
    from fer_edge.models import list_models

    for model in list_models():
        print(f"{model.kind:10}  {model.name:18}  {model.sha256[:12] or '-':12}  {model.state}")


def _run_parser() -> argparse.ArgumentParser:
    others = "\n".join(f"  fer-edge {name:7} {text}" for name, text in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="fer-edge",
        description="Find faces and name their expressions. No picture is kept unless --save-video asks for it.",
        epilog=f"commands:\n{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fer-edge {__version__}")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--camera", type=camera_index, metavar="N", help="camera number; a CSI camera is found by itself"
    )
    source.add_argument("--source", metavar="WHAT", help="video, photo, folder, rtsp:// or http:// address, picamera2")
    _add_model_options(parser)
    parser.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    parser.add_argument("--jsonl", type=Path, metavar="FILE", help="write one JSON object a frame")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row a face")
    parser.add_argument(
        "--save-video", type=Path, metavar="FILE.mp4", help="write the annotated video (this keeps faces)"
    )
    parser.add_argument(
        "--privacy",
        choices=["none", "blur"],
        default="none",
        help="blur: hide the faces that are found in every saved picture",
    )
    parser.add_argument("--quiet", action="store_true", help="no line a frame on the terminal")
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL, metavar="FILE", help=".tflite or .onnx with a contract"
    )
    parser.add_argument("--detector", choices=sorted(DETECTOR_FILES), default="mediapipe")
    parser.add_argument("--detector-file", type=Path, metavar="FILE", help="a local copy of the detector's file")
    parser.add_argument("--min-score", type=fraction, metavar="0..1", help="detections below it are dropped")
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help="threads of each engine (default 1)")
    parser.add_argument(
        "--smoothing", type=fraction, default=0.35, metavar="0..1", help="weight of the newest frame (1: off)"
    )
    parser.add_argument(
        "--max-faces", type=positive, default=16, metavar="N", help="faces a frame at most (default 16)"
    )


def _pipeline(options: argparse.Namespace) -> "Pipeline":
    from fer_edge.classifier import Classifier
    from fer_edge.pipeline import Pipeline

    classifier = Classifier(options.model, threads=options.threads)
    detector = open_detector(
        options.detector, options.detector_file, min_score=options.min_score, threads=options.threads
    )
    return Pipeline(detector, classifier, smoothing=options.smoothing, max_faces=options.max_faces)


def _sinks(options: argparse.Namespace, source: "Source", labels: tuple[str, ...]) -> list["Sink"]:
    from fer_edge import sinks

    # The one that can be refused for its name comes first, the terminal last: nothing is emptied or said in vain.
    chosen: list[Sink] = []
    if options.save_video:
        chosen.append(sinks.VideoSink(options.save_video, source.fps, blur=options.privacy == "blur"))
    if options.jsonl:
        chosen.append(sinks.JsonlSink(options.jsonl))
    if options.csv:
        chosen.append(sinks.CsvSink(options.csv, labels))
    if not options.quiet:
        chosen.append(sinks.TerminalSink(live=source.live))
    return chosen


def _refuse_overwriting(options: argparse.Namespace) -> None:
    """An output must not be the picture or video that is being read, nor another output."""
    wanted = [path for path in (options.jsonl, options.csv, options.save_video) if path is not None]
    outputs = [os.path.realpath(path) for path in wanted]  # pathlib's resolve() raises on a link to itself
    if options.source and os.path.realpath(options.source) in outputs:
        raise UsageError(f"{options.source} is both source and output; choose another output.")
    if len(set(outputs)) < len(outputs):
        raise UsageError("two outputs have the same name; choose a file for each.")
