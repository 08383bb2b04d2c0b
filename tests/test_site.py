"""The documentation as a site: it builds without a warning, fetches nothing, and quotes messages that exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TROUBLES = ROOT / "docs/troubleshooting.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: `make setup` brings it")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    built = {path.name for path in site.glob("*.html")} - {"404.html"}
    assert built == {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [name for name in built if name.replace(".html", ".md") not in navigation] == []


def test_reading_the_site_fetches_nothing(site: Path) -> None:
    loaded = re.compile(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+""")
    for page in site.glob("*.html"):
        assert loaded.findall(page.read_text()) == [], page.name


def test_every_message_of_the_troubleshooting_page_exists() -> None:
    folders = ("runtime/fer_edge", "export", "quantize")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    # Texts that are split over lines in the source are one text to the reader.
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in sources))
    quoted = re.findall(r"^\| `([^`]+)` \|", TROUBLES.read_text(), re.MULTILINE)
    assert len(quoted) >= 25
    assert [message for message in quoted if message not in text] == []
