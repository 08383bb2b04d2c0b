"""Open the CSI camera as fer-edge does and print what came, as JSON. Usage: streams.py pictures|busy"""

import json
import sys
from typing import Any

import virtual_libcamera  # noqa: F401  before picamera2

from fer_edge.errors import FerEdgeError
from fer_edge.sources.picamera import picamera_source


def pictures() -> dict[str, Any]:
    """Shape, type and mean colour (blue, green, red) of a picture of both streams."""
    with picamera_source(0) as source:
        frame = next(iter(source))
    streams = {"main": frame.image_bgr, "small": frame.small_bgr}
    return {
        name: {"shape": image.shape, "dtype": str(image.dtype), "mean": image.mean((0, 1)).tolist()}
        for name, image in streams.items()
        if image is not None
    }


def busy() -> dict[str, Any]:
    """The error of a second program, here a second source, that wants the same camera."""
    with picamera_source(0) as first:
        next(iter(first))
        try:
            with picamera_source(0) as second:
                next(iter(second))
        except FerEdgeError as error:
            return {"error": str(error)}
    return {"error": ""}


print(json.dumps({"pictures": pictures, "busy": busy}[sys.argv[1]]()))
