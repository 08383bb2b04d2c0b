"""The wheels of every board and of the emulated userlands, exact to the byte; `write_locks` makes them again."""

from pathlib import Path

from boards.arm64.cores import CORES
from boards.arm64.userland import lock_of
from boards.profiles import load_profile, profile_names
from boards.wheels import Target, workbench_versions, write_lock

_EMULATED = ("ai-edge-litert", "numpy", "onnxruntime", "opencv-python-headless")


def write_locks() -> list[Path]:
    """Resolve, download and write every lock file; their paths. Raises UsageError when a set cannot be had."""
    locks: dict[Path, tuple[tuple[str, ...], Target]] = {}
    for core in CORES.values():
        locks[lock_of(core)] = (tuple(workbench_versions(_EMULATED)), core.target)
    for profile in map(load_profile, profile_names()):
        for board in profile.with_each_engine():
            for system in board.system:
                locks[board.lock(system)] = (system.wheels, board.target(system))
    for path, (requirements, target) in locks.items():
        write_lock(path, requirements, target)
    return list(locks)
