"""Run a Python program on an emulated core, and count what it executes."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import FerEdgeError, last_line

from boards.arm64.userland import CACHE, Userland, require_tools, run

GUEST = Path(__file__).parent / "guest"
_SOURCE = Path(__file__).parent / "counter.c"
_RUNTIME = Path("runtime")


class GuestError(FerEdgeError):
    """A program failed on the emulated core; the message ends with its last words."""


@dataclass(frozen=True)
class Mark:
    """The counters when the program passed a marker, since its start."""

    number: int
    instructions: int
    dot_products: int


def run_guest(
    userland: Userland, program: str, arguments: Sequence[str], *, timeout_s: float | None = None
) -> tuple[str, list[Mark]]:
    """Run guest/`program` with the userland's packages and this checkout's runtime; what it printed, and its marks.

    Raises GuestError when it does not end with 0, naming the signal: SIGILL means an instruction the core lacks.
    """
    plugin = _built_plugin(CACHE.absolute())
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        command = ["qemu-aarch64", "-L", str(userland.root), "-cpu", userland.core.name]
        command += ["-plugin", f"{plugin},out={counts}", str(userland.python), "-B", str(GUEST / program), *arguments]
        finished = subprocess.run(
            command, capture_output=True, text=True, env=_environment(userland), timeout=timeout_s, check=False
        )
        if finished.returncode != 0:
            words = last_line(finished.stderr)
            code = f"signal {-finished.returncode}" if finished.returncode < 0 else f"exit {finished.returncode}"
            raise GuestError(f"{program} on {userland.core.name}: {code}: {words}")
        return finished.stdout, _read_marks(counts)


def _environment(userland: Userland) -> dict[str, str]:
    """Nothing of the host's; one thread everywhere, because the counters belong to the process."""
    path = os.pathsep.join([str(_RUNTIME.absolute()), str(userland.site)])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONPATH": path,
        "PYTHONHASHSEED": "0",
    } | threads


def _built_plugin(cache: Path) -> Path:
    plugin = cache / "libcounter.so"
    if not plugin.is_file() or plugin.stat().st_mtime < _SOURCE.stat().st_mtime:
        require_tools("gcc")
        cache.mkdir(parents=True, exist_ok=True)
        partial = plugin.with_suffix(f".{os.getpid()}.part")
        run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(partial), str(_SOURCE)])
        partial.replace(plugin)
    return plugin


def _read_marks(path: Path) -> list[Mark]:
    if not path.is_file():
        return []
    return [Mark(*map(int, line.split())) for line in path.read_text().splitlines()]
