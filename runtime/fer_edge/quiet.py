"""Keeping OpenCV and the libraries below it from writing to the terminal; what matters is raised or logged instead."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import cv2

# FFMPEG's AV_LOG_QUIET. OpenCV reads the variable when it first opens a capture, so setting it late is early enough.
_FFMPEG_QUIET = "-8"
_SILENT = 0  # OpenCV's LOG_LEVEL_SILENT
_stderr_lock = threading.Lock()


def quiet_opencv() -> None:
    """Silence OpenCV's and FFMPEG's own logging, unless the user asked for it by OPENCV_LOG_LEVEL and the like."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    if "OPENCV_LOG_LEVEL" in os.environ:
        return
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(_SILENT)
    else:
        cv2.utils.logging.setLogLevel(_SILENT)


@contextmanager
def native_stderr_closed() -> Iterator[None]:
    """Send what C libraries print to standard error nowhere for the length of the block.

    For libpng and libjpeg, which print their warnings and have no switch. It acts on the whole process, so keep the
    block short; log messages of other threads wait until its end.
    """
    with _stderr_lock, ExitStack() as held:
        for handler in logging.getLogger().handlers:
            handler.acquire()
            held.callback(handler.release)
        try:
            kept = os.dup(2)
        except OSError:  # standard error is closed already
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
