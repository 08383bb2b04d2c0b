"""The real bundle in a chroot, by QEMU, of the board's Debian: verify, install, run, upgrade, roll back, uninstall."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.frames import Box
from fer_edge.tracker import intersection_over_union

from boards.arm64.binfmt import registered_emulator
from boards.arm64.cores import Core, core_named
from boards.arm64.userland import CACHE, EmulationError, make_root, require_tools
from boards.bundle import UNIT
from boards.bundle.archive import require_bundle, write_sums
from boards.profiles import Profile


@dataclass(frozen=True)
class Chroot:
    """A root that can be entered."""

    core: Core
    root: Path

    def run(self, command: Sequence[str], *, timeout_s: float = 3600) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside, with the host's /dev and /proc; standard error comes with the output."""
        mounts = f'mount --bind /dev "{self.root}/dev" && mount --bind /proc "{self.root}/proc"'
        enter = f'{mounts} && exec chroot "{self.root}" "$@"'
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", enter, "sh", *command],
            env={**environment, "QEMU_CPU": self.core.name, "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )


@contextmanager
def fresh_chroot(core: Core, cache: Path = CACHE) -> Iterator[Chroot]:
    """A copy of the core's root, entered at will inside the block and removed after it. Needs root.

    Raises EmulationError where this machine cannot do it.
    """
    require_tools("qemu-aarch64-static", "unshare", "chroot")
    if os.geteuid() != 0:
        raise EmulationError("a chroot needs root. Run `make arm64-smoke`, which does not.")
    source = make_root(core, (cache / core.suite / "root").absolute())
    with tempfile.TemporaryDirectory(dir=cache.absolute()) as folder, registered_emulator():
        root = Path(folder) / "root"
        subprocess.run(["cp", "-a", str(source), str(root)], check=True)
        _settle(root)
        yield Chroot(core, root)


def _settle(root: Path) -> None:
    """Do what the packages' scripts would have done, as far as an installer looks."""
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\n")
    for folder in ("root", "tmp", "run", "proc", "usr/local/bin", "etc/systemd/system", "etc/ssl/certs"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    # Debian 13's pip reads it when it starts, even offline; its package makes it in a script.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")


_PREFIX = "opt/fer-edge"
_FRAMES = 3
_FOUND_PX, _FOLLOWED_OVERLAP = 1.5, 0.8
Faces = list[tuple[str, list[float]]]
"""Expression and box (x, y, width, height in pixels) of every face, in order."""


class InstallError(FerEdgeError):
    """The bundle does not install, run, upgrade or roll back as it must; the message holds what was seen."""


def try_bundle(profile: Profile, archive: Path, clip: Path) -> Iterator[str]:
    """Yield a line for each thing that was tried and held. Raises InstallError at the first that does not."""
    if profile.emulated_as is None:
        raise UsageError(f"{profile.name} has no emulated core to install on.")
    require_bundle(archive, profile.name)
    with fresh_chroot(core_named(profile.emulated_as)) as chroot:
        bundle = _unpacked(archive, chroot)
        shutil.copy(clip, chroot.root / "tmp")
        yield from _refusals(chroot, bundle)
        yield from _install_and_run(chroot, bundle, clip)
        yield from _unit(chroot, bundle)
        yield from _upgrades(chroot, bundle)
        _succeeds(chroot, bundle, "uninstall", "--purge")
        _check(not (chroot.root / _PREFIX).exists(), f"{_PREFIX} is still there after uninstall")
        yield "uninstall leaves nothing behind"


def _unpacked(archive: Path, chroot: Chroot) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(chroot.root / "tmp", filter="data")
    (bundle,) = (path for path in (chroot.root / "tmp").iterdir() if path.is_dir())
    return bundle


def _refusals(chroot: Chroot, bundle: Path) -> Iterator[str]:
    """One byte of every file in turn would be slow here; tests do that. This is one wheel, on the board's own tools."""
    wheel = next((bundle / "wheels").glob("numpy-*.whl"))
    with _flipped(wheel):
        _fails(chroot, bundle, 2, "a file is not what it was")
    _check(not (chroot.root / _PREFIX).exists(), "something was changed although a file was damaged")
    yield "a flipped byte in a wheel: refused, nothing changed"


def _install_and_run(chroot: Chroot, bundle: Path, clip: Path) -> Iterator[str]:
    _succeeds(chroot, bundle)
    version = _command(chroot, "/usr/local/bin/fer-edge", "--version")
    yield f"installed offline: {version.strip()}"
    line = ["--source", f"/tmp/{clip.name}", "--max-frames", str(_FRAMES), "--quiet", "--jsonl", "/tmp/faces.jsonl"]
    _command(chroot, "/usr/local/bin/fer-edge", *line)
    there = _faces(chroot.root / "tmp/faces.jsonl")
    here = _faces_here(bundle, clip)
    require_same_faces(there, here)
    yield f"fer-edge --source {clip.name}, {_FRAMES} frames: the faces of x86: {', '.join(label for label, _ in there)}"


def require_same_faces(there: Faces, here: Faces) -> None:
    """Raise InstallError unless the board sees the faces that this machine sees, one a frame.

    The first is found in the whole picture: its place and expression are the same. Later ones are followed, in a small
    cut around the place before; what INT8 rounds otherwise on Arm moves the cut, and so the box by some pixels.
    """
    _check(bool(there) and len(there) == len(here), f"{len(there)} faces, x86 has {len(here)}")
    (label, box), (expected, place) = there[0], here[0]
    _check(label == expected, f"the first face is {label}, on x86 {expected}")
    far = float(np.abs(np.subtract(box, place)).max())
    _check(far <= _FOUND_PX, f"the first face is {far:.2f} px from where x86 has it, expected {_FOUND_PX} at most")
    least = min(intersection_over_union(Box(*a), Box(*b)) for (_, a), (_, b) in zip(there, here, strict=True))
    _check(least >= _FOLLOWED_OVERLAP, f"a face overlaps with that of x86 by {least:.2f}, expected {_FOLLOWED_OVERLAP}")


def _unit(chroot: Chroot, bundle: Path) -> Iterator[str]:
    if not (bundle / UNIT).is_file():
        yield f"no {UNIT} in this bundle, so none was verified"
        return
    unit = chroot.root / "etc/systemd/system" / UNIT
    _check(unit.is_file(), f"{unit} was not installed")
    command = ["systemd-analyze", "verify", f"--root={chroot.root}", f"/etc/systemd/system/{UNIT}"]
    finished = subprocess.run(command, capture_output=True, text=True)
    # systemd-analyze ends with 0 for unknown keys too, so silence is what counts
    ours = [line for line in finished.stderr.splitlines() if UNIT in line]
    _check(finished.returncode == 0 and not ours, f"{UNIT}: {' '.join(ours) or finished.stderr}")
    yield f"{UNIT} verified by systemd-analyze"


def _upgrades(chroot: Chroot, bundle: Path) -> Iterator[str]:
    current = chroot.root / _PREFIX / "current"
    first = current.readlink()
    (bundle / "README.txt").write_text((bundle / "README.txt").read_text() + "\nA later build.\n")
    write_sums(bundle)
    _succeeds(chroot, bundle)
    second = current.readlink()
    _check(second != first, "an upgrade left the old release in use")
    _check((chroot.root / _PREFIX / "previous").readlink() == first, "the release before was not kept")
    yield "upgrade: the new release is in use, the one before is kept"
    _succeeds(chroot, bundle, "rollback")
    _check(current.readlink() == first, "roll-back left the new release in use")
    yield "roll-back: the release before is in use again, and passed its smoke run"
    with np.load(bundle / "smoke.npz") as golden:
        np.savez(bundle / "smoke.npz", faces=golden["faces"], logits=golden["logits"] + 9.0)
    write_sums(bundle)
    _fails(chroot, bundle, 4, "logits differ")
    _check(current.readlink() == first, "a release that fails its smoke run was put to use")
    yield "a release whose smoke run fails: refused, the one before stays in use"


@contextmanager
def _flipped(path: Path) -> Iterator[None]:
    """One bit of the file's middle byte is wrong inside the block."""
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(data)


def _installer(chroot: Chroot, bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return chroot.run(["/bin/sh", f"/tmp/{bundle.name}/install.sh", *words])


def _succeeds(chroot: Chroot, bundle: Path, *words: str) -> None:
    finished = _installer(chroot, bundle, *words)
    _check(finished.returncode == 0, f"install.sh {' '.join(words)}: exit {finished.returncode}: {finished.stdout}")


def _fails(chroot: Chroot, bundle: Path, code: int, words: str) -> None:
    finished = _installer(chroot, bundle)
    expected = finished.returncode == code and words in finished.stdout
    _check(expected, f"install.sh: exit {finished.returncode}, expected {code} and '{words}': {finished.stdout}")


def _command(chroot: Chroot, *command: str) -> str:
    finished = chroot.run(command)
    _check(finished.returncode == 0, f"{' '.join(command)}: exit {finished.returncode}: {finished.stdout}")
    return finished.stdout


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise InstallError(message)


def _faces(path: Path) -> Faces:
    """Expression and box of every face of a JSON lines file, in order."""
    frames = [json.loads(line) for line in path.read_text().splitlines()]
    return [(face["expression"], list(face["box_px"])) for frame in frames for face in frame["faces"]]


def _faces_here(bundle: Path, clip: Path) -> Faces:
    """Faces of the clip by the bundle's own model and detector, on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        out, config = Path(folder) / "faces.jsonl", Path(folder) / "fer-edge.toml"
        config.write_text((bundle / "fer-edge.toml").read_text().replace("@RELEASE@", str(bundle)))
        command = [sys.executable, "-m", "fer_edge", "--config", str(config), "--source", str(clip), "--quiet"]
        subprocess.run([*command, "--max-frames", str(_FRAMES), "--jsonl", str(out)], check=True, capture_output=True)
        return _faces(out)
