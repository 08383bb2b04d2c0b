"""A root file system whose own programs run, by QEMU."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boards.arm64.binfmt import registered_emulator
from boards.arm64.cores import Core
from boards.arm64.userland import CACHE, EmulationError, make_root, require_tools


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
