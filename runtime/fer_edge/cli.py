"""The `fer-edge` command: run (the default), bench, mqtt-clear, models, doctor."""

import argparse
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from fer_edge import OPENCV_MAX_PIXELS, __version__
from fer_edge.arguments import ArgumentParser, file_path
from fer_edge.detectors import DETECTOR_FILES
from fer_edge.errors import UsageError, run_reporting
from fer_edge.options import add_flags, parse, settings_from
from fer_edge.streams import ensure_standard_streams, printable

_COMMANDS = {
    "run": "read a camera, stream or file and name the expressions in it (the default)",
    "bench": "measure the latency of every stage on this machine",
    "timeline": "make a page of a run: expressions over time, from the JSONL file it wrote",
    "mqtt-clear": "have an MQTT broker forget what fer-edge left there, before a rename or an uninstall",
    "models": "list classifiers and detectors; --fetch brings a detector",
    "doctor": "look for what would keep fer-edge from working here, with the remedy for each",
}

_DESCRIPTION = """Find faces and name their expressions. No picture is kept unless --save or --save-video asks for it.

examples:
  fer-edge photo.jpg                     name the expressions in a photograph, or in several
  fer-edge clip.mp4 --save out           annotated video, JSONL, CSV and a timeline in out/
  fer-edge 0 --web 8000 --privacy blur   watch camera 0 on a page, faces hidden"""


def entry_point() -> None:
    """Console script."""
    end_process(main(sys.argv[1:]))


def end_process(exit_code: int) -> NoReturn:
    """End this process, also where a driver hangs.

    A thread that hangs in native code and comes back while Python ends is ended by Python through C++, which aborts the
    process. So where one is left behind nothing is torn down: all that matters is closed and written already.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    ensure_standard_streams()
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_OneLine("fer-edge: %(message)s"))
    words = list(arguments)
    command = words.pop(0) if words and words[0] in _COMMANDS else "run"
    return run_reporting("fer-edge", lambda: _JOBS[command](words))


class _OneLine(logging.Formatter):
    """Escapes control characters: names of files and cameras are not to write to somebody's terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback, of a fault of this program, keeps its lines."""
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


def _run(words: list[str]) -> None:
    parser = _run_parser()
    settings = parse(parser, words)
    # OpenCV has a limit of its own, which it reads when it is loaded.
    if settings.source.max_megapixels * 1e6 > OPENCV_MAX_PIXELS:
        os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(settings.source.max_megapixels * 1e6))
    from fer_edge.program.program import run_program

    from_file = any(word == "--config" or word.startswith("--config=") for word in words)
    run_program(settings, (lambda: parse(parser, words)) if from_file else None)


def _doctor(words: list[str]) -> None:
    parser = ArgumentParser(prog="fer-edge doctor", description=_COMMANDS["doctor"])
    help = "also look at what this file asks for: secrets, web address, broker, certificate"
    parser.add_argument("--config", type=file_path, metavar="fer-edge.toml", help=help)
    options = parser.parse_args(words)
    from fer_edge.doctor import examine, report

    report(examine(options.config))


def _mqtt_clear(words: list[str]) -> None:
    parser = ArgumentParser(prog="fer-edge mqtt-clear", description=_COMMANDS["mqtt-clear"])
    add_flags(parser, sections=("mqtt",))
    settings = settings_from(parser.parse_args(words), sections=("mqtt",)).mqtt
    from fer_edge.sinks.mqtt import clear_broker

    cleared = clear_broker(settings)
    print("\n".join(cleared) if cleared else "nothing of this topic prefix was kept there")


def _timeline(words: list[str]) -> None:
    parser = ArgumentParser(prog="fer-edge timeline", description=_COMMANDS["timeline"])
    parser.add_argument("results", type=file_path, metavar="FILE.jsonl", help="what --jsonl or --save wrote")
    help = "where to write the page (default: beside the file, with the suffix .html)"
    parser.add_argument("--output", type=file_path, metavar="PAGE.html", help=help)
    help = "an annotated video to link to, as the page will find it"
    parser.add_argument("--video", default="", metavar="LINK", help=help)
    options = parser.parse_args(words)
    from fer_edge.sinks.timeline_page import write_page

    page = options.output or options.results.with_suffix(".html")
    if page.exists() and page.samefile(options.results):
        raise UsageError(f"--output {page} would overwrite the results; choose another name.")
    write_page(options.results, page, options.video)
    print(page)


def _bench(words: list[str]) -> None:
    from fer_edge.bench.command import run_bench

    run_bench(words, _COMMANDS["bench"])


def _models(words: list[str]) -> None:
    parser = ArgumentParser(prog="fer-edge models", description=_COMMANDS["models"])
    parser.add_argument("--fetch", choices=sorted(DETECTOR_FILES), help="bring this detector's file and check it")
    options = parser.parse_args(words)
    if options.fetch:
        from fer_edge.fetch import fetch_detector

        print(f"{fetch_detector(options.fetch)}: ready")
        return
    from fer_edge.models import list_models

    for model in list_models():
        print(f"{model.kind:10}  {model.name:18}  {model.sha256[:12] or '-':12}  {model.state}")


def _run_parser() -> ArgumentParser:
    others = "\n".join(f"  fer-edge {name:10} {text}" for name, text in _COMMANDS.items())
    parser = ArgumentParser(
        prog="fer-edge",
        usage="fer-edge [options] SOURCE...",
        description=_DESCRIPTION,
        epilog=f"commands:\n{others}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fer-edge {__version__}")
    add_flags(parser)
    return parser


_JOBS = {
    "run": _run,
    "bench": _bench,
    "timeline": _timeline,
    "mqtt-clear": _mqtt_clear,
    "models": _models,
    "doctor": _doctor,
}
