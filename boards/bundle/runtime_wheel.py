"""The wheel of runtime/, built so that two builds of the same sources give the same bytes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fer_edge.errors import UsageError, last_line

from boards.bundle.archive import EPOCH_S

_RUNTIME = Path("runtime")
_MADE = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "build", "*.part")


def build_runtime_wheel(folder: Path) -> Path:
    """Build the wheel into `folder`; its path. Raises UsageError with setuptools' last words when it fails.

    It is built from a copy with plain modes, so that neither umask nor what an earlier build left changes it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "runtime"
        shutil.copytree(_RUNTIME, copy, ignore=_MADE)
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (EPOCH_S, EPOCH_S))
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-cache-dir",
        ]
        finished = subprocess.run(
            [*command, "-w", str(folder), str(copy)],
            capture_output=True,
            text=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)},
        )
    wheels = list(folder.glob("fer_edge-*.whl"))
    if finished.returncode != 0 or not wheels:
        reason = last_line(finished.stderr, "no wheel came")
        raise UsageError(f"the wheel of {_RUNTIME}/ cannot be built: {reason}")
    return wheels[0]
