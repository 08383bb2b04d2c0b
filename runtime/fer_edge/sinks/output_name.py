"""The file behind the name a user gave for an output, looked up again whenever that name may have changed its meaning.

A name can be a symbolic link, a program such as logrotate can move or remove the file, and the disk it lies on can be
unplugged. What counts is the name: it is what is written, and a link stays a link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

# A shell may have sent these into a file that somebody else fills as well.
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


class OutputName:
    """An output's name. Use `find` before opening the file, and `leads_to` to see whether an open file is still it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mount: Path | None = None

    def find(self) -> Path:
        """The file the name leads to, behind symbolic links; missing folders are made. It need not exist.

        Raises OSError where it cannot be, and where the disk it was on before is no longer mounted: what is written to
        the empty mount point would fill another disk, and be hidden once the right one is back.
        """
        if not is_regular(self.path):
            return self.path  # behind /dev/stdout may lie a pipe, which has no other name
        target = self.behind_links()
        if self._mount is not None and target.is_relative_to(self._mount) and not os.path.ismount(self._mount):
            raise OSError(errno.ENODEV, f"{self._mount} is not mounted")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._mount = _mount_of(target.parent)
        return target

    def behind_links(self) -> Path:
        """What the name stands for, whether it can be written or not."""
        return Path(os.path.realpath(self.path))  # resolve() raises on a link to itself

    def leads_to(self, descriptor: int) -> bool:
        """Whether the name still is that of the open file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(descriptor))
        except OSError:
            return False


def is_regular(path: Path) -> bool:
    """Whether `path` is a file on a disk, or will be: no pipe, no device, and not one of this program's own streams."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and not str(path).startswith(_STREAMS)
    except FileNotFoundError:
        return True


def lock(descriptor: int) -> None:
    """Take the open file for this process alone. Raises OSError where another one writes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another process is writing it") from None
    except OSError:
        return  # some network file systems have no locks


def unlock(descriptor: int) -> None:
    """Let other processes have the file, which a copy of the descriptor would else keep locked."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _mount_of(folder: Path) -> Path:
    """Where the file system with `folder` is mounted."""
    return next(place for place in (folder, *folder.parents) if os.path.ismount(place))
