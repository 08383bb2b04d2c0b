"""Cameras, contiguous memory, heat: what the board itself says."""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from fer_edge.board import BoardState, board_state
from fer_edge.doctor.finding import Finding, State
from fer_edge.sources.address import is_csi_camera

# A 640x480 stream with its small one and two buffers takes about 5 MB; libcamera itself wants several times that.
_MIN_CMA_MB = 32
_HOT_C = 80.0


def check_hardware(root: Path = Path("/")) -> Iterator[Finding]:
    """Findings about this board; `root` is where /dev, /proc and /sys stand."""
    devices = sorted((root / "dev").glob("video[0-9]*"))
    csi = [path for path in devices if is_csi_camera(str(path), root / "sys/class/video4linux")]
    yield check_cameras([path for path in devices if path not in csi], len(csi))
    yield check_picamera2(bool(csi))
    yield from check_cma(root / "proc/meminfo", expected=bool(csi))
    yield from check_heat(board_state())


def check_cameras(devices: list[Path], csi_count: int) -> Finding:
    """May this user open the V4L2 cameras?"""
    if not devices and not csi_count:
        return Finding("camera", State.WARN, "no /dev/video*", "plug one in; streams and files need none")
    closed = [path for path in devices if not os.access(path, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(path.name for path in closed)
        return Finding(
            "camera", State.BAD, f"no permission for {names}", "sudo usermod -aG video $USER, then log in again"
        )
    return Finding("camera", State.OK, f"{len(devices)} V4L2 device(s), {csi_count} CSI receiver(s)")


def check_picamera2(expected: bool) -> Finding:
    """Is apt's picamera2 seen from this environment? A CSI camera needs it."""
    state = State.BAD if expected else State.OK
    if importlib.util.find_spec("picamera2") is None:
        text = "not seen here" if expected else "not installed, and no CSI camera needs it"
        return Finding("picamera2", state, text, _picamera2_remedy() if expected else "")
    try:
        importlib.import_module("picamera2")
    except Exception as error:  # ValueError where it was compiled for another numpy
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = 'keep apt\'s numpy: pip install "numpy<2" "opencv-python-headless<4.12"'
        return Finding("picamera2", state if expected else State.WARN, f"cannot be imported: {reason}", remedy)
    return Finding("picamera2", State.OK, "can be imported")


def _picamera2_remedy() -> str:
    steps = "sudo apt install python3-picamera2"
    if sys.prefix != sys.base_prefix and not _sees_system_packages():
        steps += ", and make the environment with python3 -m venv --system-site-packages"
    return steps


def _sees_system_packages() -> bool:
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"include-system-site-packages\s*=\s*true", text) is not None


def check_cma(meminfo: Path, *, expected: bool) -> Iterator[Finding]:
    """Contiguous memory, which camera buffers are made of. Kernels without CMA say nothing."""
    try:
        text = meminfo.read_text(encoding="utf-8")
    except OSError:
        return
    facts = {name: int(kb) / 1024 for name, kb in re.findall(r"^(Cma\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total, free = facts.get("CmaTotal", 0.0), facts.get("CmaFree", 0.0)
    if not total:
        return
    text = f"{free:.0f} of {total:.0f} MB free"
    if expected and total < _MIN_CMA_MB:
        remedy = "dtoverlay=vc4-kms-v3d,cma-128 in /boot/firmware/config.txt, or --buffer-count 1 and a smaller --width"
        yield Finding("cma memory", State.WARN, text, remedy)
    else:
        yield Finding("cma memory", State.OK, text)


def check_heat(state: BoardState) -> Iterator[Finding]:
    """Temperature and throttling, where the board tells."""
    heat = "" if state.temp_c is None else f"{state.temp_c:.0f} C"
    if state.throttled:
        text = f"throttled now{', ' + heat if heat else ''}"
        yield Finding("heat and power", State.WARN, text, "a fan, or a power supply that holds 5 V; or --target-fps")
    elif state.temp_c is not None and state.temp_c >= _HOT_C:
        yield Finding("heat and power", State.WARN, heat, "a fan or heat sink, before the board throttles")
    elif heat:
        yield Finding("heat and power", State.OK, heat)
