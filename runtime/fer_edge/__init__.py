"""Facial expression recognition on embedded boards.

    recognizer = fer_edge.Recognizer()
    for face in recognizer(cv2.imread("photo.jpg")):
        print(face.expression, face.confidence)

The names in __all__ are the public API; whatever else is here may change with any version. Importing the package loads
neither numpy nor OpenCV: a name does when it is first used.
"""

import os as _os
from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_edge.contract import ModelContract
    from fer_edge.errors import FerEdgeError
    from fer_edge.frames import Box, Face, FrameResult
    from fer_edge.recognizer import Recognizer, annotate, load_contract

__all__ = [
    "Box",
    "Face",
    "FerEdgeError",
    "FrameResult",
    "ModelContract",
    "Recognizer",
    "__version__",
    "annotate",
    "load_contract",
]

__version__ = "0.1.0"

# OpenCV reads these once, when it is loaded. They are a second wall behind `fer_edge.picture_header`, which knows the
# size of a picture before OpenCV sees it; OpenCV's own limit of 2^30 pixels is 6 GB.
OPENCV_MAX_PIXELS = 1 << 26
for _name, _most in (("PIXELS", OPENCV_MAX_PIXELS), ("WIDTH", 1 << 16), ("HEIGHT", 1 << 16)):
    _os.environ.setdefault(f"OPENCV_IO_MAX_IMAGE_{_name}", str(_most))

_HOMES = {
    "Box": "frames",
    "Face": "frames",
    "FrameResult": "frames",
    "FerEdgeError": "errors",
    "ModelContract": "contract",
    "Recognizer": "recognizer",
    "annotate": "recognizer",
    "load_contract": "recognizer",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that has it (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fer_edge' has no attribute {name!r}")
    value = getattr(_import_module(f"fer_edge.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
