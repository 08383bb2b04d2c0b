"""The generated reference pages: they are those of the code, and no flag or key is left out."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fer_edge
from fer_edge.csv_tables import columns_of, csv_header
from fer_edge.options import keys as all_keys

from boards import api_reference, reference
from quantize.report import Row as QuantizeRow
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


def test_every_public_name_has_its_arguments_fields_and_docstring() -> None:
    page = PAGES["reference-api.md"]
    assert [name for name in fer_edge.__all__ if f"## `{name}`" not in page] == []
    for name in ("box_px", "probabilities", "stage_ms", "labels"):
        assert f"| `{name}` | " in page
    assert "recognizer(image_bgr: NDArray[np.uint8]) -> tuple[Face, ...]" in page
    assert "model_input(faces: NDArray[np.uint8]) -> NDArray[Any]" in page
    assert "| `SourceError` | 3 | A camera, stream or file that cannot be opened" in page
    assert "\n\n\n```" not in page, "a name without a docstring"


def test_commands_below_commands_are_there() -> None:
    for command in ("fer-edge doctor", "fer-edge-lab train", "fer-edge-lab vm", "fer-edge-lab simulate-gate"):
        assert f"### `{command}`" in PAGES["reference-cli.md"]


def test_every_column_of_every_csv_file_in_docs_is_explained() -> None:
    """A committed file of a kind that the page knows has its columns, and no kind is named twice."""
    kinds = {columns_of(file.kind): file for file in reference.FILES}
    assert len(kinds) == len(reference.FILES)
    page = PAGES["reference-csv.md"]
    for path in sorted((ROOT / "docs/measured").rglob("*.csv")):
        file = kinds.get(tuple(csv_header(path)))
        if file is not None:
            section = page.split(f"## `{file.path}`")[1].split("## ")[0]
            assert all(f"| `{name}` |" in section for name in csv_header(path))
    explained = {file.path.rpartition("/")[2] for file in reference.FILES}
    adopted = ROOT / "docs/measured/adopted"  # a quantize.csv for each model from elsewhere, by its name
    of_tests = {"independent.csv", "tflite-to-onnx.csv"}
    quantized = [path for path in adopted.glob("*.csv") if path.name not in of_tests]
    assert {tuple(csv_header(path)) for path in quantized} == {columns_of(QuantizeRow)}
    present = {path.name for path in (ROOT / "docs/measured").rglob("*.csv") if path.parent != adopted}
    assert present - explained <= {"mutants.csv", "mutation.csv", "search.csv"}  # search.csv is a quantize.csv


def test_no_page_holds_a_path_of_this_machine() -> None:
    assert [name for name, text in PAGES.items() if str(ROOT) in text] == []


# --- how a page is made of code ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A row of
    the test.

    Second paragraph.
    """

    name: str
    mean_ms: float | None
    side_px: int = 192
    hidden: bool = False
    tags: list[str] = field(default_factory=list)

    @property
    def longest(self) -> Path | None:
        """The longest of them."""
        return None

    def __call__(self, faces: NDArray[np.uint8], *, largest: int = 3, sure: bool = True) -> "tuple[Measured, ...]":
        """Measure faces."""
        return ()

    def _own(self) -> None:
        """Nobody else's."""


def entry() -> list[str]:
    return "\n".join(api_reference._entry("Measured", Measured)).splitlines()


def test_a_dataclass_is_shown_with_its_fields_defaults_and_members() -> None:
    lines = entry()
    assert str(Measured.longest.__doc__) in "".join(lines)
    assert str(Measured._own.__doc__) not in "".join(lines)
    assert lines[:3] == ["A row of the test.", "", "Second paragraph."]
    assert [line for line in lines if line.startswith("| `")] == [
        "| `name` | `str` |  |",
        r"| `mean_ms` | `float \| None` |  |",
        "| `side_px` | `int` | `192` |",
        "| `hidden` | `bool` | `False` |",
        "| `tags` | `list[str]` | `list()` |",
    ]
    assert "longest: Path | None" in lines
    assert [line for line in lines if line.startswith("### ")] == ["### `Measured.longest`", "### `Measured.__call__`"]


def test_a_call_has_a_star_before_its_keywords_and_types_as_the_code_writes_them() -> None:
    (call,) = (line for line in entry() if line.startswith("measured("))
    assert call == "measured(faces: NDArray[np.uint8], *, largest: int = 3, sure: bool = True) -> tuple[Measured, ...]"


def test_a_call_that_is_longer_than_a_line_has_a_parameter_a_line() -> None:
    def sample(first: str, second: dict[str, tuple[int, ...]], third: dict[str, tuple[int, ...]] | None) -> None: ...

    lines = api_reference._call("a_function_with_a_long_name", sample).splitlines()
    assert lines[0] == "a_function_with_a_long_name(" and lines[-1] == ") -> None"
    assert lines[1:-1] == [
        "    first: str,",
        "    second: dict[str, tuple[int, ...]],",
        "    third: dict[str, tuple[int, ...]] | None,",
    ]


@pytest.mark.parametrize(
    ("name", "hint", "said"),
    [
        ("name", str, "text"),
        ("mean_ms", float, "number, milliseconds"),
        ("mean_ms", float | None, "number, milliseconds, may be empty"),
        ("side_px", int, "whole number, pixels"),
        ("temp_c_max", float, "number, degrees Celsius"),
        ("freq_min_mhz", float, "number, MHz"),
        ("hidden", bool, "True or False"),
        ("n", int, "whole number"),
        ("value", int | str, "whole number or text"),
    ],
)
def test_a_column_has_the_type_and_unit_that_its_name_and_annotation_say(name: str, hint: object, said: str) -> None:
    assert reference._type_of(name, hint) == said


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), ((), ""), (True, "`true`"), (3, "`3`"), (0.5, "`0.5`"), ("auto", "`auto`")],
)
def test_a_default_is_shown_and_the_absence_of_one_is_not(value: object, shown: str) -> None:
    assert reference._default(value) == shown


def test_help_of_commands_below_commands_follows_that_of_their_parent() -> None:
    parser = argparse.ArgumentParser("tool")
    parser.add_subparsers().add_parser("job", help="does it").add_argument("--fast", action="store_true")
    headings = [part for part in reference._help(parser) if part.startswith("###")]
    assert headings == ["### `tool`\n", "### `tool job`\n"]
    assert "--fast" in reference._help(parser)[-1]


def test_pages_are_written_where_asked_for(tmp_path: Path) -> None:
    written = reference.write(tmp_path / "new")
    assert {path.name: path.read_text() for path in written} == PAGES
