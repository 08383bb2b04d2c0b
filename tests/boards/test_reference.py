"""The generated reference pages: they are those of the code, and no flag or key is left out."""

import pytest

import fer_edge
from fer_edge.csv_tables import columns_of, csv_header
from fer_edge.options import keys as all_keys

from boards import reference
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
    for field in ("box_px", "probabilities", "stage_ms", "labels"):
        assert f"| `{field}` | " in page
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
