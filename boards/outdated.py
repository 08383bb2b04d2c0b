"""Pins of the workbench beside the newest versions of the index."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tomllib

from fer_edge.errors import UsageError, last_line

from boards.wheels import package_name

_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)")


@dataclass(frozen=True)
class Outdated:
    """A pinned package and the newest version the index has."""

    name: str
    pinned: str
    newest: str


def pins(project: Path = Path("pyproject.toml")) -> dict[str, str]:
    """Return what the dependency groups of `project` pin, by name in lower case with dashes."""
    groups = tomllib.loads(project.read_text())["dependency-groups"]
    found = [_PIN.match(line) for group in groups.values() for line in group if isinstance(line, str)]
    return {package_name(pin[1]): pin[2] for pin in found if pin}


def outdated() -> list[Outdated]:
    """Ask the index, through pip, about every pin. Raises UsageError where pip cannot ask."""
    command = [sys.executable, "-m", "pip", "list", "--outdated", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"pip could not ask the index: {last_line(done.stderr, 'nothing said')}")
    return behind(pins(), json.loads(done.stdout))


def behind(pinned: dict[str, str], installed: list[dict[str, str]]) -> list[Outdated]:
    """Return the pins among `installed`, the packages pip says are not the newest, in the order of names."""
    newest = {package_name(package["name"]): package["latest_version"] for package in installed}
    return [Outdated(name, pinned[name], newest[name]) for name in sorted(pinned) if name in newest]
