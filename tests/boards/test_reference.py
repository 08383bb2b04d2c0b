"""The generated reference pages: they are those of the code, and no flag or key is left out."""

import pytest

from fer_edge.options import keys as all_keys

from boards import reference
from tests.conftest import ROOT

PAGES = {page.name: page.text for page in reference.pages()}


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_that_of_the_code(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name], "run: fer-edge-lab reference"


def test_every_key_has_its_row_with_its_flag() -> None:
    rows = PAGES["reference-configuration.md"]
    for key in all_keys():
        assert f"| `{key.name}` | " in rows
        assert key.option.flag is None or f"`{key.option.flag}" in rows


def test_commands_below_commands_are_there() -> None:
    for command in ("fer-edge doctor", "fer-edge-lab train", "fer-edge-lab vm", "fer-edge-lab simulate-gate"):
        assert f"### `{command}`" in PAGES["reference-cli.md"]


def test_no_page_holds_a_path_of_this_machine() -> None:
    assert [name for name, text in PAGES.items() if str(ROOT) in text] == []
