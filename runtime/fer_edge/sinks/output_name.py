"""The file behind the name of an output.

A name can be a symbolic link, logrotate can move or remove the file, and its disk can be unplugged. Outputs follow the
name: they look it up again, write whatever file it names now, and never replace a link.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

# The shell may have redirected these to a file that other programs write to as well.
_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


class OutputName:
    """An output's name. Call `find` before opening the file; `leads_to` tells whether an open file still has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mount: Path | None = None

    def find(self) -> Path:
        """Return the file the name leads to, which need not exist. Creates missing folders.

        Raises OSError where they cannot be created, and where the disk of the last call is not mounted any more: a file
        below the empty mount point would fill another disk, and would be hidden once the right one is mounted.
        """
        if not is_regular(self.path):
            return self.path  # /dev/stdout may lead to a pipe, which has no path of its own
        target = self.behind_links()
        if self._mount is not None and target.is_relative_to(self._mount) and not os.path.ismount(self._mount):
            raise OSError(errno.ENODEV, f"{self._mount} is not mounted")
        target.parent.mkdir(parents=True, exist_ok=True)
        self._mount = _mount_of(target.parent)
        return target

    def behind_links(self) -> Path:
        """Return the path with all symbolic links resolved; it need not exist."""
        return Path(os.path.realpath(self.path))  # resolve() raises on a link to itself

    def leads_to(self, descriptor: int) -> bool:
        """Whether the name leads to the open file."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(descriptor))
        except OSError:
            return False


def is_regular(path: Path) -> bool:
    """Whether `path` is, or will be, a file on a disk: not a pipe, a device or a standard stream."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and not str(path).startswith(_STREAMS)
    except FileNotFoundError:
        return True


def lock(descriptor: int) -> None:
    """Lock the open file for this process. Raises OSError where another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another process is writing it") from None
    except OSError:
        return  # some network file systems have no locks


def unlock(descriptor: int) -> None:
    """Release the lock, which duplicates of the descriptor would otherwise keep."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _mount_of(folder: Path) -> Path:
    """Return the mount point of the file system that holds `folder`."""
    return next((place for place in (folder, *folder.parents) if os.path.ismount(place)), Path(folder.anchor))
