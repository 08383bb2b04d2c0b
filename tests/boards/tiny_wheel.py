"""Wheels that hold nothing but their name, version and needs, for uv and pip to choose among without a network."""

import zipfile
from pathlib import Path

import pytest


def add_wheel(folder: Path, name: str, version: str, *, tag: str = "py3-none-any", needs: tuple[str, ...] = ()) -> Path:
    """Write a wheel for the machines of `tag`."""
    notes = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-{tag}.whl"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{notes}/METADATA", "\n".join(lines) + "\n")
        wheel.writestr(f"{notes}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{notes}/RECORD", "")
    return path


def use_as_index(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have uv and pip look at the wheels of a folder alone."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
