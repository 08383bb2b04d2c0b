"""A release: what it refuses, what it makes, and the notes it takes from the changelog."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from fer_edge import __version__
from fer_edge.errors import UsageError

from boards import lab, release
from tests.conftest import ROOT

CHANGELOG = """# Changelog

## Unreleased

## 1.2.0 - 2026-11-26

### Added
- A thing.

## 1.1.0 - 2026-10-01

- An older thing.
"""


def test_notes_are_the_section_of_the_version_alone() -> None:
    assert release.notes_of("1.2.0", CHANGELOG) == "# fer-edge 1.2.0\n\n### Added\n- A thing.\n"
    assert release.notes_of("1.1.0", CHANGELOG) == "# fer-edge 1.1.0\n\n- An older thing.\n"


@pytest.mark.parametrize(
    ("version", "changelog", "message"),
    [
        ("1.3.0", CHANGELOG, "no section 1.3.0"),
        ("1.2", CHANGELOG, "no section 1.2"),
        ("1x2.0", CHANGELOG, "no section 1x2.0"),
        ("1.2.0", CHANGELOG.replace("1.2.0 - 2026-11-26", "1.2.0 (unreleased)"), r"\(unreleased\), expected ` - YYYY"),
        ("1.2.0", CHANGELOG.replace(" - 2026-11-26", ""), "no date"),
    ],
)
def test_a_version_without_a_dated_section_is_refused(version: str, changelog: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        release.notes_of(version, changelog)


def test_another_version_than_the_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    release.require_version(__version__)
    with pytest.raises(UsageError, match=rf"pyproject\.toml is of version {__version__}, expected 9\.9\.9"):
        release.require_version("9.9.9")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small git checkout with the runtime's project and a changelog that has its version, dated."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["cp", "-r", ROOT / "runtime", tmp_path / "runtime"], check=True)
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {__version__} - 2026-11-26\n\n- All of it.\n")
    (tmp_path / ".gitignore").write_text("dist/\n*.egg-info/\nbuild/\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "add", "-A"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-qm", "all"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_not_committed_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "CHANGELOG.md").write_text((checkout / "CHANGELOG.md").read_text() + "\n- More.\n")
    assert lab.main(["release", __version__]) == 2
    assert "a release is of a commit, found 1 changes, as M CHANGELOG.md" in capsys.readouterr().err
    assert not (checkout / "dist").exists()


@pytest.mark.slow
def test_packages_notes_and_checksums_are_made_together(checkout: Path) -> None:
    pytest.importorskip("build", reason="build is absent; `make setup` brings it")
    pytest.importorskip("twine", reason="twine is absent; `make setup` brings it")
    made = release.make_release(release.Release(__version__, (), "fer-base"), checkout / "dist/release")
    names = {path.name for path in made}
    wheel = f"fer_edge-{__version__}-py3-none-any.whl"
    assert names == {wheel, f"fer_edge-{__version__}.tar.gz", "NOTES.md", "SHA256SUMS"}
    folder = made[0].parent
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "fer_edge/cli.py" in zipfile.ZipFile(folder / wheel).namelist()
    assert (folder / "NOTES.md").read_text() == f"# fer-edge {__version__}\n\n- All of it.\n"
