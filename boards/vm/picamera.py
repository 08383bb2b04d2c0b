"""The real picamera2 on libcamera's virtual camera: a Debian root without a kernel of its own, entered by chroot.

fer_edge is copied in unchanged; picamera2 is PyPI's on Debian's libcamera. Two modules it imports for what fer-edge
does not use are stubs (boards/vm/guest), and the virtual camera shows pictures of the sample clip.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boards.arm64.userland import EmulationError, debian_mirror, require_tools, run
from boards.profiles import Profile, System, load_profile
from boards.vm.image import CACHE
from boards.vm.report import Report, expect
from boards.wheels import download

SIZE_PX = (640, 480)
_PACKAGES = ("python3", "python3-venv", "python3-libcamera", "python3-prctl", "libcamera-ipa")
# What picamera2 imports and Debian's libcamera packages do not bring.
_WHEELS = (
    *("picamera2==0.3.38", "simplejpeg==1.9.0", "videodev2==0.0.4", "OpenEXR==3.5.3", "av==19.0.2", "pillow==13.0.0"),
    *("piexif==1.1.3", "jsonschema==4.26.0", "jsonschema-specifications==2025.9.1", "referencing==0.37.0"),
    *("rpds-py==2026.9.1", "attrs==26.1.0", "libarchive-c==5.3", "tqdm==4.70.1", "typing-extensions==4.16.0"),
)
_GUEST = Path(__file__).parent / "guest"
_PYTHON = "/opt/venv/bin/python"
_STOP_S = 2.0
_PICTURES = 30


@dataclass(frozen=True)
class PicameraRoot:
    """A root in which `python -m virtual_libcamera` is fer-edge with a CSI camera."""

    root: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start Python inside, with the machine's /dev, /proc and /sys; standard error comes with the output."""
        mounts = "".join(f'mount --rbind /{name} "$0/{name}" && ' for name in ("dev", "proc", "sys"))
        heap = [] if Path("/dev/dma_heap/linux,cma").exists() else ["LD_PRELOAD=/opt/dma_heap.so"]
        inside = ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", "PYTHONPATH=/opt/product", "LANG=C.UTF-8"]
        inside += ["LIBCAMERA_LOG_LEVELS=*:FATAL", *heap, _PYTHON, *words]
        command = ["unshare", "--mount", "sh", "-c", f'{mounts}exec chroot "$0" "$@"', str(self.root), *inside]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        """Exit code and output of Python with `words`."""
        with self.start(*words) as process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                return 124, output
            return process.returncode, output

    def fer_edge(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        """The same of fer-edge with the virtual camera."""
        return self.run("-m", "virtual_libcamera", *words, timeout_s=timeout_s)


def build_picamera_root(cache: Path = CACHE) -> PicameraRoot:
    """Return the root; built when it is missing or out of date. Raises EmulationError: what is missing."""
    if os.geteuid() != 0:
        raise EmulationError("a chroot needs root: run the command with sudo.")
    if platform.machine() != "x86_64":
        raise EmulationError(f"the root is built for x86_64, this machine is {platform.machine()}.")
    require_tools("mmdebstrap", "unshare", "chroot", "gcc")
    profile = load_profile("x86-64")
    system = next(system for system in profile.system if system.os == "Debian 13")
    root = (cache / "picamera" / "root").absolute()
    stamp, recipe = root / "recipe", _recipe(profile.lock(system))
    if not stamp.is_file() or stamp.read_text() != recipe:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--arch=amd64", f"--include={','.join(_PACKAGES)}"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
        run([*command, "trixie", str(root), *debian_mirror()])
        _install_wheels(root, profile, system)
        library = ["-shared", "-fPIC", "-O2", "-Wall", "-o", str(root / "opt/dma_heap.so"), str(_GUEST / "dma_heap.c")]
        run(["gcc", *library])
        stamp.write_text(recipe)
    return PicameraRoot(root)


def _recipe(lock: Path) -> str:
    parts = [*_PACKAGES, *_WHEELS, lock.read_text(), (_GUEST / "dma_heap.c").read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _install_wheels(root: Path, profile: Profile, system: System) -> None:
    """A venv that sees Debian's libcamera, with picamera2 and what the x86-64 bundle takes for Debian 13."""
    wheels = root / "wheels"
    lock = profile.lock(system)
    download(lock, profile.target(system), wheels / "product")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", system.python, "-d", str(wheels / "picamera2")]
    tags = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
    run([*command, *(word for tag in tags for word in ("--platform", tag)), *_WHEELS])
    install = f"env PIP_CONFIG_FILE=/dev/null {_PYTHON} -I -m pip --isolated install --quiet --no-index --no-deps"
    script = f"""python3 -m venv --system-site-packages /opt/venv
        {install} --ignore-installed /wheels/picamera2/*.whl && {install} --ignore-installed /wheels/product/*.whl"""
    run(["chroot", str(root), "env", "-i", "PATH=/usr/bin:/bin", "sh", "-ec", script])
    shutil.rmtree(wheels)


def put_in(root: PicameraRoot, clip: Path) -> None:
    """Copy the product's source, the stubs and pictures of the clip into the root; what was there is replaced."""
    product = root.root / "opt/product"
    shutil.rmtree(product, ignore_errors=True)
    shutil.copytree("runtime/fer_edge", product / "fer_edge", ignore=shutil.ignore_patterns("__pycache__"))
    for source in (*_GUEST.glob("*.py"), _GUEST / "pidng"):
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, product / source.name)
    camera = root.root / "usr/share/libcamera/pipeline/virtual"
    camera.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_GUEST / "virtual.yaml", camera / "virtual.yaml")
    faces = root.root / "faces"
    shutil.rmtree(faces, ignore_errors=True)
    faces.mkdir()
    for number, image in enumerate(clip_pictures(clip, _PICTURES)):
        cv2.imwrite(str(faces / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])


def clip_pictures(clip: Path, count: int, every: int = 4) -> list[NDArray[np.uint8]]:
    """`count` pictures (480, 640, 3) BGR uint8 of the clip, each `every`-th, scaled to cover that size and cut."""
    capture, pictures = cv2.VideoCapture(str(clip)), []
    while len(pictures) < count:
        found, image = capture.read()
        if not found:
            break
        for _ in range(every - 1):
            capture.grab()
        pictures.append(_covering(image))
    capture.release()
    return pictures


def _covering(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width, height = SIZE_PX
    scale = max(width / image.shape[1], height / image.shape[0])
    image = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


# --- checks --------------------------------------------------------------------------------------------------------


def smoke(clip: Path, cache: Path = CACHE) -> Report:
    """Build the root where needed, and run every check. Raises EmulationError where this machine cannot."""
    root = build_picamera_root(cache)
    put_in(root, clip)
    report = Report("picamera-smoke", versions=_versions(root))
    report.check("two streams", lambda: _two_streams(root))
    report.check("faces", lambda: _faces(root))
    report.check("camera busy", lambda: _busy(root))
    report.check("camera absent", lambda: _absent(root))
    report.check("SIGTERM", lambda: _sigterm(root))
    return report


def _versions(root: PicameraRoot) -> dict[str, str]:
    script = (
        "import importlib.metadata as m, numpy, cv2; print(m.version('picamera2'), numpy.__version__, cv2.__version__)"
    )
    _, output = root.run("-c", script)
    names = ("picamera2", "numpy", "OpenCV")
    libcamera = next((root.root / "var/lib/dpkg/info").glob("libcamera0.*.list"), None)
    found = dict(zip(names, output.split(), strict=False))
    return found | {"libcamera": libcamera.name.split(":")[0].removeprefix("libcamera") if libcamera else "?"}


def _two_streams(root: PicameraRoot) -> str:
    code, output = root.run("/opt/product/streams.py", "pictures")
    expect(code == 0, output.strip()[-400:])
    seen = json.loads(output.splitlines()[-1])
    expect(seen.get("main", {}).get("shape") == [480, 640, 3], f"main stream: {seen.get('main')}")
    expect(seen.get("small", {}).get("shape") == [240, 320, 3], f"small stream: {seen.get('small')}")
    shown = np.mean([cv2.imread(str(path)).mean((0, 1)) for path in (root.root / "faces").glob("*.jpg")], axis=0)
    for name in ("main", "small"):
        far = float(np.abs(np.subtract(seen[name]["mean"], shown)).max())
        expect(far < 8, f"{name} stream: blue, green, red {seen[name]['mean']}, the pictures have {shown.round(1)}")
    return "640x480 and 320x240, BGR as in the pictures shown"


def _faces(root: PicameraRoot) -> str:
    """libcamera plays the pictures in a loop; each frame must have the faces some picture has."""
    camera = _labels(root, "--source", "picamera2", "--max-frames", "20")
    files = _labels(root, "--source", "/faces")
    expect(len(camera) >= 18, f"{len(camera)} faces in 20 frames of the camera, {len(files)} in {_PICTURES} pictures")
    most_camera, most_files = (Counter(labels).most_common(1)[0][0] for labels in (camera, files))
    expect(most_camera == most_files, f"most frames are {most_camera}, most pictures {most_files}")
    return f"{len(camera)} faces in 20 frames, most of them {most_camera}, as in the pictures"


def _labels(root: PicameraRoot, *source: str) -> list[str]:
    (root.root / "tmp/faces.jsonl").unlink(missing_ok=True)
    code, output = root.fer_edge(*source, "--quiet", "--jsonl", "/tmp/faces.jsonl")
    expect(code == 0, f"exit code {code}: {output.strip()[-400:]}")
    frames = [json.loads(line) for line in (root.root / "tmp/faces.jsonl").read_text().splitlines()]
    return [face["expression"] for frame in frames for face in frame["faces"] if face.get("expression")]


def _busy(root: PicameraRoot) -> str:
    code, output = root.run("/opt/product/streams.py", "busy")
    expect(code == 0, output.strip()[-400:])
    error = json.loads(output.splitlines()[-1])["error"]
    expect("Is another program using it?" in error, f"the second source: {error or 'no error'}")
    return error


def _absent(root: PicameraRoot) -> str:
    code, output = root.fer_edge("--source", "picamera2:7", "--max-frames", "1", *_GIVE_UP)
    expect(code == 3, f"exit code {code}, expected 3: {output.strip()[-400:]}")
    expect("libcamera sees 1 camera(s)" in output, output.strip()[-400:])
    expect("Traceback" not in output, output.strip()[-400:])
    return next(line for line in output.splitlines() if "libcamera sees" in line)


_GIVE_UP = ("--tries", "0")


def _sigterm(root: PicameraRoot) -> str:
    """A machine that is busy elsewhere may take longer once, so the best of three counts."""
    taken_s = [_stop_s(root) for _ in range(3)]
    expect(min(taken_s) <= _STOP_S, f"it ended after {taken_s} s, expected {_STOP_S} at most")
    return f"it ended after {min(taken_s):.1f} s, results written"


def _stop_s(root: PicameraRoot) -> float:
    """Seconds from SIGTERM to the end, with exit code 0."""
    results = root.root / "tmp/faces.jsonl"
    results.unlink(missing_ok=True)
    with root.start(
        "-m", "virtual_libcamera", "--source", "picamera2", "--quiet", "--jsonl", "/tmp/faces.jsonl"
    ) as process:
        until_s = time.monotonic() + 60
        while not (results.is_file() and results.stat().st_size) and time.monotonic() < until_s:
            time.sleep(0.1)
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        taken_s = time.monotonic() - began_s
    expect(process.returncode == 0, f"exit code {process.returncode}: {output.strip()[-400:]}")
    for line in results.read_text().splitlines():
        json.loads(line)
    return round(taken_s, 2)
