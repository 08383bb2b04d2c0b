"""Python, engines, numpy and OpenCV as they are installed."""

import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

from fer_edge.doctor.finding import Finding, State
from fer_edge.engines import PACKAGES

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
