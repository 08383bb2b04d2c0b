"""Three differences between libcamera's virtual camera and a Raspberry Pi's, bridged for picamera2.

`import virtual_libcamera` before picamera2, or run fer-edge with it: `python -m virtual_libcamera --source picamera2`.

picamera2 configures a raw stream while it opens a camera; the virtual one has none. picamera2 hands each buffer over as
one plane; the virtual camera writes NV12 into two. And it fills a buffer as soon as it gets it, so that the first ones
come back before picamera2 has started, which then loses them.
"""

import runpy
import time
from typing import Any

import libcamera

_generate = libcamera.Camera.generate_configuration
_ready_requests = libcamera.CameraManager.get_ready_requests
_FrameBuffer = libcamera.FrameBuffer
_EXPOSURE_S = 0.2


def _without_raw(camera: Any, roles: list[Any]) -> Any:
    role = libcamera.StreamRole
    return _generate(camera, [role.VideoRecording if asked == role.Raw else asked for asked in roles])


def _after_an_exposure(manager: Any) -> Any:
    time.sleep(_EXPOSURE_S)
    return _ready_requests(manager)


def _two_planes(planes: list[Any]) -> Any:
    luma, chroma = planes[0], _FrameBuffer.Plane()
    chroma.fd = luma.fd
    chroma.length = luma.length // 3
    luma.length -= chroma.length
    chroma.offset = luma.offset + luma.length
    return _FrameBuffer([luma, chroma])


_two_planes.Plane = _FrameBuffer.Plane
libcamera.Camera.generate_configuration = _without_raw
libcamera.CameraManager.get_ready_requests = _after_an_exposure
libcamera.FrameBuffer = _two_planes

if __name__ == "__main__":
    runpy.run_module("fer_edge", run_name="__main__", alter_sys=True)
