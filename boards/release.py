"""A release: wheel and sdist of the runtime, bundles, checksums and notes, in a folder ready to be published.

Nothing is uploaded. What does not agree about the version is refused before anything is built.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomllib

from fer_edge import __version__
from fer_edge.errors import FerEdgeError, UsageError, last_line

from boards.bundle import BundleRequest, build_bundle
from boards.bundle.runtime_wheel import build_runtime_wheel
from boards.profiles import load_profile
from export.artifacts import staged

CHANGELOG = Path("CHANGELOG.md")
_PROJECT = Path("runtime/pyproject.toml")


class ReleaseError(FerEdgeError):
    """A package that the index would not take."""

    exit_code = 1


@dataclass(frozen=True)
class Release:
    """Request of a release: its version, and the boards that get a bundle of `model`."""

    version: str
    boards: tuple[str, ...]
    model: str


def make_release(release: Release, out: Path) -> list[Path]:
    """Make the files of a release in `out`/VERSION, checksums beside them, and return them; all of them or none.

    Raises UsageError where version, packages and changelog disagree, or the checkout has changes that no commit has;
    ReleaseError where twine finds fault with a package.
    """
    notes = notes_of(release.version, CHANGELOG.read_text())
    require_version(release.version)
    require_committed()
    folder = out / release.version
    with staged(folder) as made:
        packages = [build_runtime_wheel(made), _sdist(made)]
        _check(packages)
        for board in release.boards:
            build_bundle(BundleRequest(load_profile(board), release.model, out=made))
        (made / "NOTES.md").write_text(notes)
    return sorted(folder.iterdir())


def notes_of(version: str, changelog: str) -> str:
    """Return the section of a version in a changelog of Keep a Changelog's form. Raises UsageError without one."""
    title = rf"^## \[?{re.escape(version)}(?![\w.])\]?(?P<title>.*)\n"
    found = re.search(title + r"(?P<body>(?:(?!^## ).*\n?)*)", changelog, re.MULTILINE)
    if not found:
        raise UsageError(f"{CHANGELOG} has no section {version}. Write one, as `## {version} - YYYY-MM-DD`.")
    if not re.fullmatch(r" - \d{4}-\d{2}-\d{2}", found["title"]):
        raise UsageError(f"{CHANGELOG}, {version}: {found['title'].strip() or 'no date'}, expected ` - YYYY-MM-DD`.")
    return f"# fer-edge {version}\n\n{found['body'].strip()}\n"


def require_version(version: str) -> None:
    """Raise UsageError where the package or its project file is of another version."""
    project = tomllib.loads(_PROJECT.read_text())["project"]["version"]
    for place, found in ((str(_PROJECT), project), ("runtime/fer_edge/__init__.py", __version__)):
        if found != version:
            raise UsageError(f"{place} is of version {found}, expected {version}. Change it, or release {found}.")


def require_committed() -> None:
    """Raise UsageError where the checkout holds what no commit has."""
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True)
    changed = status.stdout.splitlines()
    if status.returncode or changed:
        what = f"{len(changed)} changes, as {changed[0].strip()}" if changed else "no git checkout"
        raise UsageError(f"a release is of a commit, found {what}. Commit them first.")


def _sdist(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), "runtime"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"no sdist of runtime/: {last_line(done.stderr or done.stdout, 'nothing')}")
    (path,) = folder.glob("*.tar.gz")
    return path


def _check(packages: Sequence[Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *packages], capture_output=True, text=True
    )
    if done.returncode:
        raise ReleaseError(f"twine finds fault: {last_line(done.stdout + done.stderr, 'nothing')}")
