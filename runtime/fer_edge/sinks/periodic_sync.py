"""Periodic fsync, which bounds how many seconds of results a power cut costs."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

# The program has to end within two seconds, with three outputs; a slow disk goes on without it.
_CLOSE_S = 0.5
# Errors of file systems that do not support fsync.
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class PeriodicSync:
    """Calls fsync on an output file every `period_s` seconds, if something was written, in a thread of its own.

    A thread, because a memory card may take a second and the camera must not wait for it. With a period of 0 every call
    of `wrote` syncs and returns once the results are on the disk.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._changed, self._syncing = threading.Condition(), threading.Lock()
        # The current file, and earlier ones that are synced once more and closed.
        self._file: int | None = None
        self._left: list[int] = []
        self._folders: set[Path] = set()
        self._pending = 0
        self._failure: OSError | None = None
        self._over = False
        self._thread: threading.Thread | None = None
        self.lost = 0

    def watch(self, descriptor: int, folder: Path) -> None:
        """Sync this open file, which lies in `folder`, from now on."""
        copy = os.dup(descriptor)
        self.leave()
        with self._changed:
            self._file = copy
            self._folders.add(folder)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sync outputs", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """Sync the file a last time and close it, without waiting, so that its disk can be unmounted."""
        with self._changed:
            if self._file is not None:
                self._left.append(self._file)
            self._file = None
            self._changed.notify()

    def wrote(self, results: int) -> None:
        """Count results that were written. Raises OSError, once, where earlier ones did not reach the disk."""
        with self._changed:
            self._pending += results
        if self._period_s == 0:
            self._sync()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Sync what is left and end the thread. Waits for half a second at most."""
        self.leave()
        with self._changed:
            self._over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._over:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._left, self._period_s or None)
            self._sync()

    def _sync(self) -> None:
        with self._syncing:  # only this block closes files, so none is closed during its fsync
            with self._changed:
                results, self._pending = self._pending, 0
                left, self._left = self._left, []
                folders, self._folders = self._folders, set()
                files = left if self._file is None else [*left, self._file]
            failed = [error for one in files if results and (error := _sync_file(one)) is not None]
            for descriptor in left:
                os.close(descriptor)
            for folder in folders:
                _sync_folder(folder)
        if failed:
            self.lost += results
            reason = f"{results} results did not reach the disk: {failed[0].strerror}"
            self._failure = OSError(failed[0].errno, reason)


def _sync_file(descriptor: int) -> OSError | None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        return None if error.errno in _UNSUPPORTED else error
    return None


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that the name of a new file reaches the disk as well."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
