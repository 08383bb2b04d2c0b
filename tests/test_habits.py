"""The pages that are about working on fer-edge: what they name is there."""

import re

import pytest
import tomllib
import yaml

from fer_edge import __version__

from tests.conftest import ROOT

# A path of the repository: a folder of it, then names; NAME stands for any.
_PATH = re.compile(r"`((?:runtime|train|export|quantize|boards|tests|docs|models|examples)/[\w./-]*)`")
_PAGES = ("CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md")


@pytest.mark.parametrize("page", _PAGES)
def test_every_path_named_is_there(page: str) -> None:
    named = [path for path in _PATH.findall((ROOT / page).read_text()) if "NAME" not in path]
    assert named or page == "SECURITY.md"
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", _PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_forms_and_citation_can_be_read() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        assert path.name == "config.yml" or {"name", "description", "body"} <= set(form)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["license"] == tomllib.loads((ROOT / "runtime/pyproject.toml").read_text())["project"]["license"]
