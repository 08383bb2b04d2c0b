"""A USB camera for the guest: its pictures on the share, and the commands that plug it in and out there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

_PROGRAM = Path(__file__).with_name("guest") / "usb_camera.py"
FORMATS = ("mjpeg", "yuyv")
_NAMED = "grep -ls 'camera of files' /sys/class/video4linux/video*/name"
_FIRST = f"for n in $({_NAMED}); do [ $(cat ${{n%name}}index) = 0 ] && basename ${{n%/name}}; done | grep ."


def write_camera(share: Path, pictures: Sequence[NDArray[np.uint8]]) -> None:
    """Put the camera's program and its pictures, each (480, 640, 3) uint8 BGR, on the share in both formats."""
    shutil.copyfile(_PROGRAM, share / _PROGRAM.name)
    for form in FORMATS:
        (share / form).mkdir()
    for number, picture in enumerate(pictures):
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (share / f"mjpeg/{number:03}").write_bytes(jpeg.tobytes())
        (share / f"yuyv/{number:03}").write_bytes(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_YUY2).tobytes())


def plug(form: str) -> str:
    """Commands that plug in the camera of that format and print the name of its device, such as video2."""
    return (
        f"modprobe vhci-hcd && systemd-run --quiet --collect --unit=usb python3 /share/{_PROGRAM.name} {form} "
        f"/share/{form} && for i in $(seq 100); do {_FIRST} && break; sleep 0.5; done"
    )


# The device goes when its program ends; until then its name would be taken for the next camera's.
UNPLUG = f"systemctl stop usb; for i in $(seq 100); do {_NAMED} >/dev/null || break; sleep 0.5; done"
