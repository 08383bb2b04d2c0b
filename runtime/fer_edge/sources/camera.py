"""USB and other V4L2 cameras, by index or device path."""

import os
import sys
from pathlib import Path

import cv2

from fer_edge.errors import SourceAbsentError, SourceError
from fer_edge.native import native_text
from fer_edge.quiet import quiet_opencv
from fer_edge.redaction import redacted
from fer_edge.sources.address import SYSFS, is_csi_camera
from fer_edge.sources.capture import CaptureDevice
from fer_edge.sources.live import LiveOptions, LiveSource


def camera_source(device: int | str, options: LiveOptions | None = None, *, sysfs: Path = SYSFS) -> LiveSource:
    """A camera by index, or by path such as /dev/v4l/by-id/...; the driver may choose another size than asked for."""
    chosen = options or LiveOptions()
    name = f"camera {device}" if isinstance(device, int) else redacted(device)
    native_text(str(device), name, SourceError)
    return LiveSource(name, lambda: _open(device, name, chosen, sysfs), chosen)


def _open(device: int | str, name: str, options: LiveOptions, sysfs: Path) -> CaptureDevice:
    on_linux = sys.platform == "linux"
    if on_linux:
        _check(device, name, sysfs)
    quiet_opencv()
    # Elsewhere OpenCV knows the system's camera interface best.
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if on_linux else cv2.CAP_ANY)
    if not capture.isOpened():
        raise SourceAbsentError(
            f"{name}: the driver refuses to open it. Is another program using it (`fuser -v /dev/video*`)?"
        )
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width_px)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height_px)
    return CaptureDevice(capture, complains=True)


def _check(device: int | str, name: str, sysfs: Path) -> None:
    """Raise SourceError where OpenCV would only say that it failed."""
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    if is_csi_camera(device, sysfs):
        raise SourceError(f"{name} is a CSI camera, which V4L2 cannot read here. Use --source picamera2:N (N from 0).")
    if not path.exists():
        found = ", ".join(sorted(str(other) for other in Path("/dev").glob("video*"))) or "none"
        shown = redacted(str(path))
        raise SourceAbsentError(
            f"{name}: {shown} does not exist; found: {found}. Is it plugged in (`v4l2-ctl --list-devices`)?"
        )
    if not path.is_char_device():
        raise SourceError(f"{name}: {redacted(str(path))} is no camera. Expected a V4L2 device such as /dev/video0.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{name}: no permission for {path}. Run `sudo usermod -aG video $USER` and log in again.")
