"""Facial expression recognition on embedded boards: what runs on the board, and the contract it honours."""

import os as _os

__version__ = "0.1.0"

# OpenCV reads these once, when it is loaded. They are a second wall behind `fer_edge.picture_header`, which knows the
# size of a picture before OpenCV sees it; OpenCV's own limit of 2^30 pixels is 6 GB.
OPENCV_MAX_PIXELS = 1 << 26
for _name, _most in (("PIXELS", OPENCV_MAX_PIXELS), ("WIDTH", 1 << 16), ("HEIGHT", 1 << 16)):
    _os.environ.setdefault(f"OPENCV_IO_MAX_IMAGE_{_name}", str(_most))
