"""A root file system whose own programs run: QEMU registered with the kernel for as long as it is needed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boards.arm64.cores import Core
from boards.arm64.userland import CACHE, EmulationError, make_root, require_tools

_NAME = "fer-edge-aarch64"
# ELF, 64 bit, little endian, executable or shared object, machine 183: kernel/Documentation/admin-guide/binfmt-misc.rst
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


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


@contextmanager
def registered_emulator() -> Iterator[None]:
    """Have the kernel start arm64 programs with QEMU, unless it does so already; undone at the end.

    Flag F opens QEMU now, so that the root need not hold it.
    """
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "none", folder], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise EmulationError(f"binfmt_misc cannot be mounted: {mounted.stderr.strip()}")
        try:
            if any("aarch64" in entry.name for entry in Path(folder).iterdir()):
                yield
                return
            rule = f":{_NAME}:M::{_MAGIC}:{_MASK}:{shutil.which('qemu-aarch64-static')}:F"
            (Path(folder) / "register").write_text(rule)
            try:
                yield
            finally:
                (Path(folder) / _NAME).write_text("-1")
        finally:
            subprocess.run(["umount", folder], check=True)
