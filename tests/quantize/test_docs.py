"""The page on INT8: its table and the figures in its text are those of the committed CSV files."""

import csv

from quantize import __main__ as command
from quantize.report import markdown
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "quantization.md").read_text()
MEASURED = ROOT / "docs" / "measured" / "fer-nano"


def row(recipe: str) -> dict[str, str]:
    with open(MEASURED / "search.csv", newline="") as stream:
        return next(row for row in csv.DictReader(stream) if row["recipe"] == recipe)


def test_the_table_is_that_of_the_committed_search() -> None:
    assert markdown(MEASURED / "search.csv") in PAGE


def test_what_is_said_of_training_is_what_was_measured() -> None:
    text = " ".join(PAGE.split())
    trained, plain, best = row("nncf-qat"), row("nncf"), row("qdq-u8-quantile")
    for figure in ("agreement", "accuracy"):
        first, second, third = (f"{float(entry[figure]):.2%}".replace("%", " %") for entry in (plain, trained, best))
        assert f"from {first} to {second}" in text
        assert third in text
    assert trained["int8_convs"] == trained["convs"] == "13"
    assert float(trained["latency_ratio"]) <= 1.02 * float(best["latency_ratio"])


def test_a_table_that_is_none_is_refused(tmp_path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    assert command.main(["table", str(path)]) == 2
