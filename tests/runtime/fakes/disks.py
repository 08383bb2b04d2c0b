"""Real small disks for tests: a tmpfs of its own, where the tests run as root."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False).returncode
        if found == 0:
            subprocess.run(["umount", folder], check=False)
    return found == 0


needs_mount = pytest.mark.skipif(not _can_mount(), reason="mounting a tmpfs takes root")


@contextlib.contextmanager
def mounted_tmpfs(folder: Path, size: str = "4m") -> Iterator[Path]:
    """A file system in memory at `folder`, which is made; unplugged at the end, whoever has files open on it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


class Ext4Disk:
    """A disk of its own in the file `image`, mounted at `folder`."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image, self.folder = image, folder
        folder.mkdir(parents=True, exist_ok=True)

    def plug_in(self) -> Path:
        """Mount it; a journal that a power cut left is played first."""
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self.image, self.folder], check=True)
        return self.folder

    def unplug(self) -> None:
        """Unmount it, whoever has files open on it."""
        subprocess.run(["umount", "--lazy", self.folder], check=False)

    def fail(self) -> None:
        """An error of the file system, after which the kernel lets nothing be written."""
        device = subprocess.run(["findmnt", "-no", "SOURCE", self.folder], capture_output=True, text=True, check=True)
        Path("/sys/fs/ext4", Path(device.stdout.strip()).name, "trigger_fs_error").write_text("1")

    def as_after_a_power_cut(self, image: Path, folder: Path) -> "Ext4Disk":
        """Another disk with what had reached this one at this moment."""
        shutil.copyfile(self.image, image)
        return Ext4Disk(image, folder)


def _has_loop() -> bool:
    try:
        with tempfile.TemporaryDirectory() as folder, ext4_disk(Path(folder)) as disk:
            disk.plug_in()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@contextlib.contextmanager
def ext4_disk(folder: Path, megabytes: int = 16) -> Iterator[Ext4Disk]:
    """A new disk with the file system of most boards, below `folder`; not plugged in yet."""
    image = folder / "disk.img"
    image.write_bytes(b"")
    os.truncate(image, megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    disk = Ext4Disk(image, folder / "mounted")
    try:
        yield disk
    finally:
        disk.unplug()


needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not _has_loop(), reason="a disk in a file takes root, mkfs.ext4 and a loop device"
)
