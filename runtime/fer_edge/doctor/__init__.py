"""`fer-edge doctor`: what would keep fer-edge from working here, each finding with its remedy.

Here are the checks of the machine: interpreter, packages, cameras, memory, heat; `configured` has the others.
"""

import importlib
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fer_edge.board import BoardState, board_state
from fer_edge.doctor.finding import Finding, State
from fer_edge.engines import PACKAGES
from fer_edge.errors import ModelError, UsageError
from fer_edge.sources.address import is_csi_camera

# A 640x480 stream with its small one and two buffers takes about 5 MB; libcamera itself wants several times that.
_MIN_CMA_MB = 32
_HOT_C = 80.0
Installed = Callable[[str], str | None]

_PYTHON_RANGE = ((3, 10), (3, 14))
_OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
_ENGINES = {package: module for packages in PACKAGES.values() for package, module in packages.items()}
_ILLEGAL_ON_A72 = "1.21.0"
__all__ = ["Finding", "State", "examine", "report"]


def examine(config: Path | None = None) -> list[Finding]:
    """Look at everything, also at what a configuration file asks for. Never raises: what fails is a finding.

    Model and detector in use are those of the file, else the release's, else the package's.
    """
    from fer_edge.doctor.configured import check_configuration, check_files, settings_in_use

    configured = [] if config is None else check_configuration(config)
    return [*check_software(), *check_hardware(), *check_files(settings_in_use(config)), *configured]


def report(findings: Iterable[Finding]) -> None:
    """Print the findings. Raises ModelError or UsageError, with their exit codes, where something is broken."""
    findings = list(findings)
    for finding in findings:
        print(f"{finding.state.value:4}  {finding.subject:18} {finding.text}")
        if finding.remedy:
            print(f"{'':24} -> {finding.remedy}")
    broken = [finding for finding in findings if finding.state is State.BAD]
    if broken:
        subjects = ", ".join(finding.subject for finding in broken)
        refused = any(finding.is_model for finding in broken)
        raise (ModelError if refused else UsageError)(f"doctor: {subjects} must be mended before fer-edge can run.")


def installed(package: str) -> str | None:
    """A distribution's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_software(find: Installed = installed) -> Iterator[Finding]:
    """Findings about the Python environment; `find` gives a distribution's version."""
    yield check_python(sys.version_info[:2])
    yield from check_engines(find)
    yield check_opencv(find)


def check_python(found: tuple[int, int]) -> Finding:
    """Is this Python one that fer-edge was made for?"""
    first, end = _PYTHON_RANGE
    text = f"{found[0]}.{found[1]}, {platform.machine()}"
    if first <= found < end:
        return Finding("python", State.OK, text)
    return Finding(
        "python", State.BAD, text, f"make the environment with Python {first[0]}.{first[1]} to {end[0]}.{end[1] - 1}"
    )


def check_engines(find: Installed) -> Iterator[Finding]:
    """Each engine that is installed: can it be imported, and is it a version known to die here?"""
    present = {package: found for package in _ENGINES if (found := find(package)) is not None}
    if not present:
        yield Finding("engine", State.BAD, "none is installed", "pip install ai-edge-litert")
    for package, found in present.items():
        yield _check_engine(package, found, find)


def _check_engine(package: str, found: str, find: Installed) -> Finding:
    if package == "onnxruntime" and found == _ILLEGAL_ON_A72 and platform.machine() == "aarch64":
        remedy = "pip install 'onnxruntime!=1.21.0'"
        return Finding("engine", State.BAD, f"onnxruntime {found} dies with SIGILL on a Raspberry Pi 4", remedy)
    numpy = find("numpy") or "0"
    if package == "tflite-runtime" and int(numpy.split(".")[0]) >= 2:
        text = f"tflite-runtime {found} was built for numpy 1, found {numpy}"
        return Finding("engine", State.WARN, text, "pip install ai-edge-litert, or pip install 'numpy<2'")
    try:
        importlib.import_module(_ENGINES[package])
    except Exception as error:  # a wheel for another machine raises more than ImportError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(
            "engine", State.BAD, f"{package} {found} cannot be imported: {reason}", f"pip install --force {package}"
        )
    return Finding("engine", State.OK, f"{package} {found}")


def check_opencv(find: Installed) -> Finding:
    """Two OpenCV distributions overwrite each other's files."""
    present = [f"{package} {found}" for package in _OPENCVS if (found := find(package)) is not None]
    if len(present) > 1:
        names = " ".join(line.split()[0] for line in present)
        return Finding(
            "opencv",
            State.WARN,
            f"{len(present)} are installed over each other: {', '.join(present)}",
            f"pip uninstall -y {names}; pip install opencv-python-headless",
        )
    # apt's python3-opencv is no pip distribution.
    import cv2

    return Finding("opencv", State.OK, present[0] if present else f"cv2 {cv2.__version__}, not from pip")


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
