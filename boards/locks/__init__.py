"""Locks of the boards' packages, and pins of the workbench beside the newest versions of the index."""

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomllib

from fer_edge.errors import UsageError

from boards.arm64.cores import CORES
from boards.arm64.userland import lock_of
from boards.profiles import load_profile, profile_names
from boards.wheels import CONSTRAINTS, Target, package_name, workbench_versions, write_lock

_EMULATED = ("ai-edge-litert", "numpy", "onnxruntime", "opencv-python-headless")
PROJECT = Path("pyproject.toml")
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)")


@dataclass(frozen=True)
class Pin:
    """A package held at one version by `file`; its name in lower case with dashes."""

    name: str
    version: str
    file: Path


@dataclass(frozen=True)
class Outdated:
    """A pin and the newest version the index has."""

    pin: Pin
    newest: str


def pins(project: Path = PROJECT, constraints: Path = CONSTRAINTS) -> list[Pin]:
    """Return each package pinned once, in the order of names: by a dependency group of `project`, or by `constraints`.

    Raises UsageError where both pin a package at different versions: no environment could be made of them.
    """
    groups = tomllib.loads(project.read_text())["dependency-groups"]
    asked = _pinned((line for group in groups.values() for line in group if isinstance(line, str)), project)
    held = _pinned(constraints.read_text().splitlines(), constraints)
    for name, pin in asked.items():
        if name in held and held[name].version != pin.version:
            raise UsageError(
                f"{constraints} pins {name} {held[name].version}, expected {pin.version} as {project} does. "
                "Raise a version in both files."
            )
    return [pin for _, pin in sorted({**held, **asked}.items())]


def _pinned(lines: Iterable[str], file: Path) -> dict[str, Pin]:
    found = [match for match in map(_PIN.match, lines) if match]
    return {package_name(match[1]): Pin(package_name(match[1]), match[2], file) for match in found}


def outdated(pinned: Sequence[Pin]) -> list[Outdated]:
    """Return the pins that are not the newest of the index, in the order given; uv asks about each by itself.

    Packages need not be installed. Raises UsageError where uv cannot ask, or knows no such package.
    """
    newest = _newest([pin.name for pin in pinned])
    return [Outdated(pin, newest[pin.name]) for pin in pinned if pin.version != newest[pin.name]]


def _newest(names: Sequence[str]) -> dict[str, str]:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate"]
    command += ["--no-deps", "-"]
    done = subprocess.run(command, input="\n".join(names), capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "uv is missing; run `make setup`"
        raise UsageError(f"the index could not be asked: {reason}")
    found = [match for match in map(_PIN.match, done.stdout.splitlines()) if match]
    return {package_name(match[1]): match[2] for match in found}


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
