"""Wheels for another machine: resolved once with uv into a lock file, then downloaded with pip by their SHA-256.

A lock file has the format of pip's requirements, one wheel a line with its hash, so `pip --require-hashes` holds to it.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import UsageError, last_line
from fer_edge.files import atomic_write, sha256_of

CONSTRAINTS = Path("constraints.txt")
LOCKS = Path("boards/locks")
_OLDEST_MINOR = 17  # manylinux2014, the oldest tag that exists for aarch64
_ASKED = "# for: "
_NEWEST_OF_UV = 40  # uv knows no newer manylinux platform


@dataclass(frozen=True)
class Target:
    """The machine wheels are for: architecture as `uname -m` says it, Python as "3.11", glibc as (2, 36)."""

    arch: str
    python: str
    glibc: tuple[int, int]

    @property
    def platforms(self) -> tuple[str, ...]:
        """Every platform tag the machine takes, newest first (PEP 600)."""
        major, minor = self.glibc
        tags = [f"manylinux_{major}_{n}_{self.arch}" for n in range(minor, _OLDEST_MINOR - 1, -1)]
        return (*tags, f"manylinux2014_{self.arch}", f"linux_{self.arch}")


def resolve(requirements: Sequence[str], target: Target) -> list[str]:
    """Every package `requirements` need on `target`, as "name==version": where they leave it open, the workbench's.

    Raises UsageError when there is no solution.
    """
    newest = min(target.glibc[1], _NEWEST_OF_UV)
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate"]
    command += ["--python-version", target.python, "--python-platform", f"{target.arch}-manylinux_2_{newest}"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(_open_constraints(requirements)))
        constraints.flush()
        command += ["--only-binary", ":all:", "--constraint", constraints.name, "-"]
        finished = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True)
    if finished.returncode != 0:
        reason = " ".join(finished.stderr.split()) or "uv is missing; run `make setup`"
        raise UsageError(f"no set of wheels for {target}: {reason}")
    return finished.stdout.split()


def _open_constraints(requirements: Sequence[str]) -> list[str]:
    """The workbench's versions of all that the requirements do not name themselves."""
    named = {package_name(requirement) for requirement in requirements}
    lines = CONSTRAINTS.read_text().splitlines()
    return [line for line in lines if "==" in line and package_name(line) not in named]


def workbench_versions(names: Sequence[str]) -> list[str]:
    """The lines of constraints.txt that pin `names`. Raises UsageError for a name it does not pin."""
    pins = {package_name(line): line for line in CONSTRAINTS.read_text().splitlines() if "==" in line}
    unknown = [name for name in names if name not in pins]
    if unknown:
        raise UsageError(f"{CONSTRAINTS} pins no {', '.join(unknown)}.")
    return [pins[name] for name in names]


def write_lock(path: Path, requirements: Sequence[str], target: Target) -> None:
    """Resolve, download and write the lock file."""
    with tempfile.TemporaryDirectory() as folder:
        _download(resolve(requirements, target), target, Path(folder))
        wheels = sorted(Path(folder).glob("*.whl"))
        lines = [f"{_requirement(wheel)} --hash=sha256:{sha256_of(wheel)}" for wheel in wheels]
    head = ["# made by `fer-edge-lab lock`", f"{_ASKED}{' '.join(requirements)}"]
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join([*head, *lines]) + "\n")


def check_lock(path: Path, requirements: Sequence[str]) -> None:
    """Raise UsageError unless `path` was made for these requirements."""
    asked = [line.removeprefix(_ASKED) for line in path.read_text().splitlines() if line.startswith(_ASKED)]
    if asked != [" ".join(requirements)]:
        raise UsageError(f"{path} was made for {asked or 'nothing'}. Make it again with `fer-edge-lab lock`.")


def download(lock: Path, target: Target, folder: Path) -> list[Path]:
    """Put every wheel of `lock` into `folder`; their paths, sorted. Raises UsageError naming what could not be had."""
    if not lock.is_file():
        raise UsageError(f"{lock} not found. Make it with `fer-edge-lab lock`.")
    folder.mkdir(parents=True, exist_ok=True)
    _download(["--require-hashes", "-r", str(lock)], target, folder)
    return sorted(folder.glob("*.whl"))


def _download(what: Sequence[str], target: Target, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
    ]
    command += ["--python-version", target.python, "--implementation", "cp"]
    command += [word for tag in target.platforms for word in ("--platform", tag)]
    finished = subprocess.run([*command, *what], capture_output=True, text=True)
    if finished.returncode != 0:
        reason = last_line(finished.stderr, "pip said nothing")
        raise UsageError(f"wheels for {target.arch}, Python {target.python}: {reason}. Check the network.")


def package_name(requirement: str) -> str:
    """The normalised name a requirement starts with (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]).lower()


def _requirement(wheel: Path) -> str:
    """A wheel's "name==version", from its file name (PEP 427)."""
    name, version = wheel.name.split("-")[:2]
    return f"{name.lower().replace('_', '-')}=={version}"
