"""Open the CSI camera as fer-edge does and print what came, as JSON. Usage: streams.py pictures|busy"""

import json
import sys
from typing import Any

import virtual_libcamera  # noqa: F401  before picamera2
from picamera2 import Picamera2

from fer_edge.errors import FerEdgeError
from fer_edge.sources.live import LiveOptions
from fer_edge.sources.picamera import picamera_source

# The property by which fer-edge knows a camera with a second stream, and picamera2 one with a raw stream, which is not
# here.
_properties = Picamera2.camera_properties
Picamera2.camera_properties = property(lambda camera: _properties.fget(camera) | {"ColorFilterArrangement": 0})
Picamera2._is_rpi_camera = lambda camera: False


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
            with picamera_source(0, LiveOptions(patient=False)) as second:
                next(iter(second))
        except FerEdgeError as error:
            return {"error": str(error)}
    return {"error": ""}


print(json.dumps({"pictures": pictures, "busy": busy}[sys.argv[1]]()))
