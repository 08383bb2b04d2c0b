"""A Debian arm64 userland with aarch64 wheels, made once and kept under build/; no container, mount or chroot."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError, last_line
from fer_edge.files import sha256_of

from boards.arm64.cores import Core
from boards.wheels import LOCKS, download

CACHE = Path("build/arm64")
_PACKAGES = (
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "debianutils",
    "findutils",
    "gawk",
    "grep",
    "gzip",
    "libc-bin",
    "libgcc-s1",
    "libstdc++6",  # numpy does not import without it
    "mount",
    "openssh-client",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "sed",
    "systemd",  # so that systemd-analyze finds the targets a service names
    "tar",
    "util-linux",
)
_PACKAGES_NEEDED = "apt install qemu-user mmdebstrap arch-test gcc libc6-dev"


class EmulationError(UsageError):
    """This machine cannot make or run an arm64 userland; the message says what to install."""


@dataclass(frozen=True)
class Userland:
    """A root file system for `core`, and the folder its Python packages stand in."""

    core: Core
    root: Path
    site: Path

    @property
    def python(self) -> Path:
        """The arm64 interpreter."""
        return self.root / "usr" / "bin" / f"python{self.core.python}"


def require_tools(*names: str) -> None:
    """Raise EmulationError unless every program is installed."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        static = " qemu-user-static" if "qemu-aarch64-static" in missing else ""
        raise EmulationError(f"{', '.join(missing)} not found. Install: {_PACKAGES_NEEDED}{static}")


def make_userland(core: Core, cache: Path = CACHE) -> Userland:
    """The userland for `core`; made when it is not there, which takes about a minute. Raises EmulationError."""
    require_tools("qemu-aarch64")
    root = make_root(core, (cache / core.suite / "root").absolute())
    return Userland(core, root, _make_site(core, lock_of(core), (cache / core.suite / "site").absolute()))


def lock_of(core: Core) -> Path:
    """The lock file of the wheels that are tried on `core`."""
    return LOCKS / f"emulated-{core.suite}.txt"


def make_root(core: Core, root: Path) -> Path:
    """Unpack Debian's packages into `root`, complete or not at all, with what Linux would show of the core.

    A root made of another list of packages is made again.
    """
    stamp = root / ".packages"
    if not stamp.is_file() or stamp.read_text() != " ".join(_PACKAGES):
        require_tools("mmdebstrap")
        shutil.rmtree(root, ignore_errors=True)
        partial = root.with_name(f"{root.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract"]
        command += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={','.join(_PACKAGES)}"]
        run([*command, core.suite, str(partial), *debian_mirror()])
        for folder in ("proc", "sys/devices/system/cpu", "dev", "tmp"):
            (partial / folder).mkdir(parents=True, exist_ok=True)
        (partial / stamp.name).write_text(" ".join(_PACKAGES))
        partial.rename(root)
    for name in ("present", "possible", "online"):
        (root / "sys/devices/system/cpu" / name).write_text("0-3\n")
    (root / "proc/cpuinfo").write_text(core.cpuinfo())
    return root


def _make_site(core: Core, lock: Path, site: Path) -> Path:
    """Install the wheels of `lock` into `site`, again when the lock has changed."""
    stamp = site / ".lock-sha256"
    digest = sha256_of(lock)
    if stamp.is_file() and stamp.read_text() == digest:
        return site
    shutil.rmtree(site, ignore_errors=True)
    target = core.target
    wheels = site.with_name("wheels")
    shutil.rmtree(wheels, ignore_errors=True)
    download(lock, target, wheels)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--only-binary=:all:"]
    command += ["--find-links", str(wheels), "--target", str(site), "--python-version", core.python]
    command += [word for tag in target.platforms for word in ("--platform", tag)]
    run([*command, "--require-hashes", "-r", str(lock)])
    stamp.write_text(digest)
    return site


def debian_mirror() -> list[str]:
    """The Debian mirror this machine uses itself; mmdebstrap's own default where it uses none."""
    if shutil.which("apt-get") is None:
        return []
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "ShortDesc: Packages"]
    answer = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return [uri for uri in answer if uri.rstrip("/").endswith("/debian")][:1]


def run(command: Sequence[str]) -> None:
    """Run a command of this machine. Raises EmulationError with its last line where it fails.

    It is asked to end where this process is killed: mmdebstrap would go on for minutes, with its mounts.
    """
    linked = ["setpriv", "--pdeathsig", "TERM", *command] if shutil.which("setpriv") else command
    finished = subprocess.run(linked, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if finished.returncode != 0:
        reason = last_line(finished.stderr)
        raise EmulationError(f"{Path(command[0]).name} failed: {reason}")
