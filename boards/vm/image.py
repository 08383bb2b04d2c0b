"""A bootable Debian for QEMU: kernel, initial RAM disk and root file system, built once and kept under build/vm."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from boards.arm64.binfmt import registered_emulator
from boards.arm64.userland import debian_mirror, require_tools, run

CACHE = Path("build/vm")
_SIZE = "4G"
# linux-image-*: Debian's "cloud" kernels have neither vivid nor 9p. e2fsprogs checks the root after a power cut.
_PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "libnss-systemd", "kmod", "initramfs-tools", "zstd", "e2fsprogs"),
    *("qemu-guest-agent", "v4l-utils", "python3", "python3-venv", "procps", "psmisc", "openssh-client"),
    *("mosquitto", "mosquitto-clients", "curl", "less"),
)
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/lib/firmware/*")
# Written before the kernel is unpacked. MODULES=dep would look at the host's hardware.
_INITRAMFS = {
    "etc/initramfs-tools/conf.d/fer-edge": "MODULES=list\nCOMPRESS=zstd\nFSTYPE=ext4\n",
    "usr/share/initramfs-tools/modules.d/fer-edge": "virtio_pci\nvirtio_mmio\nvirtio_blk\next4\n",
}
# The journal outlives a reboot, so that what happened before a power cut can be read. vivid is the camera.
_SETTINGS = {
    "etc/hostname": "board\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/fstab": "LABEL=root / ext4 defaults,noatime 0 1\n"
    "share /share 9p trans=virtio,version=9p2000.L,ro,msize=512000,nofail 0 0\n",
    "etc/systemd/journald.conf.d/persistent.conf": "[Journal]\nStorage=persistent\n",
    "etc/modules-load.d/vivid.conf": "vivid\n",
    "etc/modprobe.d/vivid.conf": "options vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0\n",
    "etc/mosquitto/conf.d/local.conf": "listener 1883 127.0.0.1\nallow_anonymous true\n",
}
# Periodic jobs that would take the emulated processor in the middle of a check; the broker is started by its check.
_DISABLED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("man-db.timer", "logrotate.timer", "systemd-tmpfiles-clean.timer"),
)


@dataclass(frozen=True)
class Image:
    """Image that QEMU boots: files in one folder."""

    folder: Path
    arch: str
    suite: str

    @property
    def kernel(self) -> Path:
        """The kernel, compressed as Debian ships it."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.folder / "initrd"

    @property
    def root(self) -> Path:
        """The root file system, ext4; a run writes to an overlay of it."""
        return self.folder / "root.ext4"


def build_image(arch: str, suite: str, cache: Path = CACHE) -> Image:
    """Return the image of Debian `suite` for `arch` ("amd64", "arm64"); built when it is missing or out of date.

    Needs root, mmdebstrap and e2fsprogs; for arm64 also qemu-aarch64-static. Raises EmulationError: what is missing.
    """
    image = Image((cache / f"{arch}-{suite}").absolute(), arch, suite)
    stamp, recipe = image.folder / "recipe", _recipe(arch, suite)
    if stamp.is_file() and stamp.read_text() == recipe:
        return image
    require_tools("mmdebstrap", "mkfs.ext4")
    shutil.rmtree(image.folder, ignore_errors=True)
    root = image.folder / "root"
    root.mkdir(parents=True)
    with registered_emulator() if arch == "arm64" else nullcontext():
        run(_bootstrap(arch, suite, image.folder, root))
    _settle(root)
    _pack(image, root)
    shutil.rmtree(root)
    stamp.write_text(recipe)
    return image


def _recipe(arch: str, suite: str) -> str:
    """A digest of all that decides what the image holds."""
    parts = [arch, suite, _SIZE, _PACKAGES, _LEFT_OUT, _INITRAMFS, _SETTINGS, _DISABLED]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _bootstrap(arch: str, suite: str, folder: Path, root: Path) -> list[str]:
    initramfs = folder / "initramfs"
    for name, text in _INITRAMFS.items():
        (initramfs / name).parent.mkdir(parents=True, exist_ok=True)
        (initramfs / name).write_text(text)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--arch={arch}"]
    command += [f"--include={','.join((f'linux-image-{arch}', *_PACKAGES))}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command += [f'--essential-hook=cp -R "{initramfs}/." "$1/"']
    return [*command, suite, str(root), *debian_mirror()]


def _settle(root: Path) -> None:
    """Write what the guest needs beyond its packages."""
    for name, text in _SETTINGS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for folder in ("share", "var/log/journal"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for unit in _DISABLED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (root / "etc/systemd/system/multi-user.target.wants/mosquitto.service").unlink(missing_ok=True)
    for archive in (root / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)


def _pack(image: Image, root: Path) -> None:
    """Make kernel, initrd and the ext4 file from the unpacked root."""
    for path, pattern in ((image.kernel, "vmlinuz-*"), (image.initrd, "initrd.img-*")):
        (source,) = (root / "boot").glob(pattern)
        shutil.copyfile(source, path)
    run(["truncate", "-s", _SIZE, str(image.root)])
    run(["mkfs.ext4", "-q", "-F", "-L", "root", "-d", str(root), str(image.root)])


@contextmanager
def overlay(image: Image) -> Iterator[Path]:
    """A folder with disk.qcow2, which begins as the image's root and takes every write; removed afterwards."""
    with tempfile.TemporaryDirectory(dir=image.folder, prefix="run.") as folder:
        disk = Path(folder) / "disk.qcow2"
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image.root), str(disk)])
        yield Path(folder)
