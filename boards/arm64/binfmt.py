"""Rules of the kernel's binfmt_misc: each is there while somebody uses it, and goes with its last user."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from boards.arm64.userland import EmulationError

# ELF, 64 bit, little endian, executable or shared object, machine 183: kernel/Documentation/admin-guide/binfmt-misc.rst
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_AARCH64 = "fer-edge-aarch64"


@contextmanager
def registered_emulator() -> Iterator[None]:
    """Have the kernel start arm64 programs with QEMU inside the block, by its own rule or by one that was there before.

    Flag F opens QEMU now, so that the root need not hold it. Raises EmulationError where binfmt_misc cannot be mounted.
    """
    with binfmt_misc() as folder:
        if any("aarch64" in entry.name and entry.name != _AARCH64 for entry in folder.iterdir()):
            yield
            return
        with shared_rule(folder / _AARCH64, f"M::{_MAGIC}:{_MASK}:{shutil.which('qemu-aarch64-static')}:F"):
            yield


@contextmanager
def binfmt_misc() -> Iterator[Path]:
    """The kernel's rules as files in a folder; each mount of it shows the same files."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "none", folder], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise EmulationError(f"binfmt_misc cannot be mounted: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextmanager
def shared_rule(entry: Path, rule: str) -> Iterator[None]:
    """Register a rule unless it is there, and remove it after the block unless another program still uses it.

    Each user holds a shared lock on the rule's file. The kernel releases the lock of a program that was killed, so the
    rule it left goes with the next user.
    """
    with _one_at_a_time(entry.parent):
        if not entry.exists():
            (entry.parent / "register").write_text(f":{entry.name}:{rule}")
        user = os.open(entry, os.O_RDWR)
        fcntl.flock(user, fcntl.LOCK_SH)
    try:
        yield
    finally:
        with _one_at_a_time(entry.parent), closing(os.fdopen(user)), suppress(BlockingIOError):
            fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(user, b"-1")  # to the file that was opened: a rule of this name may be another by now


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """A lock on the folder of the rules, against another program that registers or removes one."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
